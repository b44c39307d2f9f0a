"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const maxBytes = Number(document.body.dataset.maxBytes);
  const needsToken = document.body.dataset.needsToken === "yes";
  const pictures = {};
  const shown = { search: [], compare: [] };  // addresses of blobs, which are given back
  let token = needsToken ? sessionStorage.getItem("token") : null;
  let server = null;
  let latest = 0;

  function make(name, properties = {}, ...children) {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  }

  async function ask(address, options = {}) {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    let answer;
    try {
      answer = await fetch(address, { ...options, headers });
    } catch {
      throw new Error("The server does not answer: is it running, and is the picture small enough?");
    }
    if (answer.ok) return answer;
    if (answer.status === 401) login(token !== null);
    let said = `The server answered ${answer.status}.`;
    try { said = (await answer.json()).error || said; } catch { /* of a proxy */ }
    throw new Error(said);
  }

  function login(wrong) {
    token = null;
    sessionStorage.removeItem("token");
    $("login").hidden = false;
    $("about").textContent = wrong ? "This is not the token of the server." : "This server asks for a token.";
  }

  $("login").addEventListener("submit", async (event) => {
    event.preventDefault();
    token = $("token").value.trim();
    try {
      await about();
      sessionStorage.setItem("token", token);
      $("token").value = "";
      $("login").hidden = true;
    } catch (error) { $("about").textContent = error.message; }
  });

  async function about() {
    server = await (await ask("info")).json();
    const count = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
    const meaning = server.calibrated ? "" : " The model is not calibrated: distances have no probabilities.";
    $("about").textContent = `${count(server.images, "image", "images")} of ${count(server.people, "person", "people")}.${meaning}`;
    const columns = Object.keys(server.columns).filter((name) => name !== "added");
    $("columns").textContent = `Columns: ${columns.join(", ")}. Compare with = != < > in (…) is empty; join with and, or, not.`;
    $("like-field").hidden = !Object.keys(server.attributes).length;
  }

  const megabytes = (bytes) => `${(bytes / 1e6).toLocaleString("en", { maximumFractionDigits: 1 })} MB`;

  function problem(mode, text) {
    const line = $(`${mode}-problem`);
    line.textContent = text || "";
    line.hidden = !text;
  }

  function zone(drop) {
    const field = drop.dataset.field, mode = field === "picture" ? "search" : "compare";
    drop.append($("drop").content.cloneNode(true));
    const input = drop.querySelector("input"), image = drop.querySelector("img"), hint = drop.querySelector(".hint");
    const name = drop.querySelector(".name span"), clear = drop.querySelector(".clear");
    input.setAttribute("aria-label", { picture: "Picture", first: "First picture", second: "Second picture" }[field]);

    function take(file) {
      if (image.src) URL.revokeObjectURL(image.src);
      image.removeAttribute("src");
      delete pictures[field];
      problem(mode);
      if (file && file.size > maxBytes) {
        problem(mode, `${file.name} has ${megabytes(file.size)}, and this server takes ${megabytes(maxBytes)}: make the picture smaller.`);
        file = null;
      }
      image.hidden = clear.hidden = !file;
      hint.hidden = Boolean(file);
      name.textContent = file ? file.name : "";
      if (!file) { input.value = ""; return; }
      pictures[field] = file;
      image.onerror = () => { image.hidden = true; hint.hidden = false; };
      image.src = URL.createObjectURL(file);
    }

    input.addEventListener("change", () => { if (input.files.length) take(input.files[0]); });
    clear.addEventListener("click", () => take(null));
    for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
    for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
    drop.addEventListener("drop", (event) => { event.preventDefault(); if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]); });
  }
  document.querySelectorAll(".drop").forEach(zone);
  for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (event) => event.preventDefault());  // a miss opens no file

  function looks(found) {
    const list = make("ul", { className: "looks" });
    for (const [name, each] of Object.entries(found)) {
      if (each.class === null) continue;
      list.append(make("li", {}, `${name.replaceAll("_", " ")}: ${each.class} `, make("small", { textContent: `${Math.round(100 * each.confidence)} %` })));
    }
    return list;
  }

  const four = (distance) => (Math.abs(distance) < 5e-5 ? 0 : distance).toFixed(4);  // rounding may lead below 0

  const percent = (share) => share > 0.9995 ? "> 99.9 %" : share < 0.0005 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`;

  function card(hit) {
    const frame = make("div", { className: "frame" }, make("span", { className: "rank", textContent: hit.rank }));
    if (!server || !server.thumbnails) frame.append("no image");
    const item = make("li", { className: hit.same ? "card same" : "card" }, frame);
    item.dataset.id = hit.id;
    item.append(make("b", { textContent: hit.known.person_id ?? "unknown person" }));
    const numbers = make("div", { className: "numbers", textContent: `distance ${four(hit.distance)}` });
    item.append(numbers);
    if (hit.probability !== null) numbers.append(make("br"), `probability ${percent(hit.probability)}`);
    if (hit.same) numbers.append(make("br"), make("span", { className: "sign", textContent: "✓ within threshold" }));
    const known = Object.entries(hit.known).filter(([name, value]) => value !== null && !["person_id", "added"].includes(name));
    const rest = known.map(([name, value]) => `${name.replace(/_id$/, "")} ${value}`).join(", ");
    if (rest) item.append(make("div", { className: "more", textContent: rest }));
    if (hit.agrees) item.append(make("div", { className: "more", textContent: `agrees: ${hit.agrees}` }));
    if (hit.differs) item.append(make("div", { className: "more", textContent: `differs: ${hit.differs}` }));
    return item;
  }

  async function thumbnails(items, mine) {
    const waiting = [...items];
    async function next() {
      while (waiting.length && mine === latest) {
        const item = waiting.shift(), frame = item.querySelector(".frame");
        try {
          const address = URL.createObjectURL(await (await ask(`thumbnails/${item.dataset.id}`)).blob());
          if (mine !== latest) { URL.revokeObjectURL(address); return; }
          shown.search.push(address);
          frame.append(make("img", { src: address, alt: `Image ${item.dataset.id} of the gallery` }));
        } catch { frame.append("no image"); }
      }
    }
    await Promise.all(Array.from({ length: 4 }, next));
  }

  async function sent(form, mode, address, body) {
    const button = form.querySelector(".go");
    problem(mode);
    button.disabled = true;
    try {
      return await (await ask(address, { method: "POST", body })).json();
    } catch (error) {
      problem(mode, error.message);
      return null;
    } finally { button.disabled = false; }
  }

  $("search").querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const body = new FormData(), like = $("like").value.trim(), where = $("where").value.trim();
    if (!pictures.picture && !like) { problem("search", server && Object.keys(server.attributes).length ? "Choose a picture, or say what the person looks like." : "Choose a picture first."); return; }
    if (pictures.picture) body.append("picture", pictures.picture, "picture");
    if (like) body.append("like", like);
    if (where) body.append("where", where);
    body.append("k", $("k").value);
    body.append("explain", String(Boolean(like)));
    const found = await sent(event.target, "search", "search", body);
    const mine = ++latest;
    shown.search.splice(0).forEach((address) => URL.revokeObjectURL(address));
    const answer = $("answer");
    answer.replaceChildren();
    if (!found) return;
    const of = `of ${found.images.toLocaleString("en")} images`;
    answer.append(make("p", { className: "said", textContent: found.found.length ? `The ${found.found.length} nearest ${of}.` : `No image ${of} fulfils the condition.` }));
    if (found.looks) answer.append(make("div", {}, make("span", { className: "note", textContent: "The picture, as the model sees it:" }), looks(found.looks)));
    if (found.threshold !== null && found.found.length) answer.append(make("p", { className: "note", textContent: `Marked: a distance of at most ${found.threshold.toFixed(4)}. As near are 1 % of the pairs of different people: check each match before you rely on it.` }));
    const items = found.found.map(card);
    answer.append(make("ol", { className: "hits" }, ...items));
    if (server && server.thumbnails) await thumbnails(items, mine);
  });

  $("compare").querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!pictures.first || !pictures.second) { problem("compare", "Choose two pictures."); return; }
    const body = new FormData();
    body.append("first", pictures.first, "first");
    body.append("second", pictures.second, "second");
    const found = await sent(event.target, "compare", "compare", body);
    $("verdict").replaceChildren();
    if (!found) return;
    const word = found.same === null ? make("b", { textContent: "No verdict" }) : make("b", { className: found.same ? "right" : "wrong", textContent: found.same ? "Same person" : "Different people" });
    const chance = found.probability === null ? "" : `, probability ${percent(found.probability)}`;
    $("verdict").append(make("p", { className: "verdict" }, word, `: distance ${four(found.distance)}${chance}`));
    const why = found.same === null
      ? "The model is not calibrated, so its distances have no threshold: `reid calibrate` measures one."
      : `One person: a distance of at most ${found.threshold.toFixed(4)}. As near are ${(100 * found.false_accepts).toPrecision(2)} % of the pairs of different people. The probability assumes that half of all pairs show one person.`;
    $("verdict").append(make("p", { className: "note", textContent: why }));
  });

  const tabs = [...document.querySelectorAll("[role=tab]")];
  function open(tab) {
    for (const each of tabs) {
      const on = each === tab;
      each.setAttribute("aria-selected", on);
      each.tabIndex = on ? 0 : -1;
      $(each.getAttribute("aria-controls")).hidden = !on;
    }
  }
  tabs.forEach((tab, place) => {
    tab.addEventListener("click", () => open(tab));
    tab.addEventListener("keydown", (event) => {
      if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
      const other = tabs[(place + 1) % tabs.length];
      open(other);
      other.focus();
    });
  });

  if (needsToken && !token) login(false);
  else about().catch((error) => { if (token !== null || !needsToken) $("about").textContent = error.message; });
})();
