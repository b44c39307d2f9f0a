"use strict";
function show(mark) {
  const PER_PAGE = 12;
  const find = (id) => document.getElementById(id);
  if (typeof PEOPLE === "undefined" || MARK !== mark) {
    find("sheet").textContent = "The folder index_files is missing or was not written together with this page: write the page again.";
    return;
  }
  const [search, role, sheet, place] = ["search", "role", "sheet", "place"].map(find);
  let chosen = PEOPLE, first = 0;

  const make = (tag, text, kind) => {
    const made = document.createElement(tag);
    if (text) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };

  const picture = (person) => {
    const image = make("img");
    image.src = person.file;
    [image.width, image.height] = person.size;
    image.loading = "lazy";
    image.alt = `Images of ${person.name}`;
    return image;
  };

  const card = (person) => {
    const box = make("section", "", "person");
    const cameras = person.cameras.some((name) => name) ? `; cameras ${person.cameras.map((name) => name || "unknown").join(", ")}` : "";
    box.append(
      make("h3", person.name),
      picture(person),
      make("p", `${person.role}, ${person.images} image${person.images === 1 ? "" : "s"}${cameras}`),
    );
    const alike = make("div", "", "alike");
    for (const [other, distance] of person.alike) {
      const button = make("button");
      button.type = "button";
      button.append(picture(PEOPLE[other]), `${PEOPLE[other].name}, ${distance.toFixed(2)}`);
      button.addEventListener("click", () => go(other));
      alike.append(button);
    }
    box.append(alike);
    return box;
  };

  const draw = () => {
    sheet.replaceChildren(...chosen.slice(first, first + PER_PAGE).map(card));
    place.textContent = chosen.length
      ? `${first + 1} to ${Math.min(first + PER_PAGE, chosen.length)} of ${chosen.length}`
      : "Nobody has this name.";
    find("previous").disabled = first === 0;
    find("next").disabled = first + PER_PAGE >= chosen.length;
  };

  const turn = (step) => {
    const target = first + step * PER_PAGE;
    if (target >= 0 && target < chosen.length) {
      first = target;
      draw();
    }
  };

  const choose = () => {
    const wanted = search.value.trim().toLowerCase();
    chosen = PEOPLE.filter((person) => (!role.value || person.role === role.value) && person.name.toLowerCase().includes(wanted));
    first = 0;
    draw();
  };

  const go = (other) => {
    search.value = "";
    role.value = "";
    choose();
    first = other - (other % PER_PAGE);
    draw();
    const box = sheet.children[other % PER_PAGE];
    box.tabIndex = -1;
    box.focus();
  };

  search.addEventListener("input", choose);
  role.addEventListener("change", choose);
  find("previous").addEventListener("click", () => turn(-1));
  find("next").addEventListener("click", () => turn(1));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    if (event.key === "ArrowRight") turn(1);
    else if (event.key === "ArrowLeft") turn(-1);
    else if (event.key === "/") {
      event.preventDefault();
      search.focus();
    }
  });
  draw();
}
