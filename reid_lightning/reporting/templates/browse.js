"use strict";

/* Shows the queries of `window.REID` (see data.js): one run, or several side by side. */
function browse(folder, mark) {
  const data = window.REID;
  const refuse = (said) => { document.querySelector("#how").textContent = said; document.querySelector("#how").className = "worse"; };
  if (!data) return refuse("The file " + folder + "/data.js is missing: it belongs beside this page.");
  if (data.mark !== mark) return refuse("The folder " + folder + " and this page were not written together, because the writing was cut off or files were copied one by one: write the page again.");
  const images = data.images, runs = data.runs, first = runs[0], several = runs.length > 1;
  const find = (name) => document.querySelector(name);
  const FIRST = 8, STEP = 20, SHOWN = 13, FIRST_ORDER = several ? "gains" : "worst";

  function make(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === "onclick") node.addEventListener("click", value);
      else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    for (const child of children) if (child !== null && child !== undefined) node.append(child);
    return node;
  }

  const percent = (share) => (share === null || share === undefined ? "–" : (100 * share).toFixed(1));
  const file = (image) => folder + "/images/" + image + ".jpg";
  const person = (image) => (images.nobody[image] ? "distractor" : images.person[image] < 0 ? "" : data.people[images.person[image]]);
  const camera = (image) => (images.camera[image] < 0 ? "" : data.cameras[images.camera[image]]);
  const label = (image) => [person(image) || (data.known ? "unknown" : shortName(image)), camera(image) && "camera " + camera(image)].filter(Boolean).join(", ");
  const shortName = (image) => images.name[image].split("/").pop();
  const distance = (value) => (value < 10 ? value.toFixed(3) : value.toFixed(1));
  const isRight = (query, image) => (data.known ? !images.nobody[image] && images.person[query] >= 0 && images.person[image] === images.person[query] : null);

  function picture(image, alt) {
    return make("img", { src: file(image), alt: alt, loading: "lazy", decoding: "async", width: 64, height: 128 });
  }

  /* Annotated classes of an image, -1 where unknown. */
  const CODES = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  const code = (image, place) => CODES.indexOf(images.attributes[image][place]);

  function attributes(query, image) {
    const same = [], other = [];
    data.attributes.forEach((attribute, place) => {
      const asked = code(query, place), found = code(image, place);
      if (asked < 0 || found < 0) return;
      const names = attribute.classes;
      if (asked === found) same.push(attribute.title + " " + names[asked]);
      else other.push(attribute.title + ": " + names[asked] + ", here " + names[found]);
    });
    return { same, other };
  }

  /* ------------------------------------------------------------ filters */

  const KINDS = {
    w: "nearest is a wrong person", d: "distractor first", f: "no match in the first ten", r: "nearest is right", n: "no true match",
  };
  const kinds = several
    ? { "rw": runs[0].name + " right, " + runs[1].name + " wrong", "wr": runs[0].name + " wrong, " + runs[1].name + " right", "ww": "both wrong", "rr": "both right" }
    : KINDS;
  const isHit = (run, number) => run.first && run.first[number] === 1;
  const twoKind = (number) => runs.slice(0, 2).map((run) => (isHit(run, number) ? "r" : "w")).join("");
  const hasKind = (number, kind) => (several ? twoKind(number) === kind : (first.kinds[number] || "").includes(kind));
  const everyNumber = data.queries.map((_, number) => number);

  function option(select, value, text, word) {
    find(select).append(make("option", { value: value, "data-word": word ?? value }, text));
  }
  if (data.known) {
    for (const [kind, text] of Object.entries(kinds)) {
      const count = everyNumber.filter((number) => hasKind(number, kind)).length;
      if (count) option("#kind", kind, text + " (" + count.toLocaleString("en") + ")");
    }
  }
  const cameraOrder = data.cameras.map((_, place) => place).filter((place) => data.cameras[place] !== "");
  cameraOrder.sort((a, b) => data.cameras[a].localeCompare(data.cameras[b], "en", { numeric: true }));
  for (const place of cameraOrder) {
    if (data.queries.some((image) => images.camera[image] === place)) option("#query-camera", String(place), data.cameras[place], data.cameras[place]);
    if (first.pair_cameras && first.pair_cameras.includes(place)) option("#match-camera", String(place), data.cameras[place], data.cameras[place]);
  }
  data.attributes.forEach((attribute, place) => {
    attribute.classes.forEach((name, number) => {
      const count = data.queries.filter((image) => code(image, place) === number).length;
      if (count) option("#attribute", place + "=" + number, attribute.title + ": " + name + " (" + count.toLocaleString("en") + ")", attribute.title + ": " + name);
    });
  });
  for (const name of ["#kind", "#query-camera", "#match-camera", "#attribute"]) {
    if (find(name).options.length < 2) find(name).parentElement.hidden = true;
  }
  if (!data.known) find("#sort").parentElement.hidden = true;
  if (several) {
    const sort = find("#sort");
    sort.prepend(make("option", { value: "loses" }, "second run loses most"), make("option", { value: "gains" }, "second run gains most"));
    sort.value = "gains";
  }
  for (const one of find("#sort").options) one.dataset.word = one.value;

  /* Average precision of a query: among the images of the chosen camera if there is one. */
  function precision(number, run) {
    const chosen = find("#match-camera").value;
    if (chosen === "") return run.ap ? run.ap[number] : null;
    const column = run.pair_cameras ? run.pair_cameras.indexOf(Number(chosen)) : -1;
    return column < 0 ? null : run.pairs[number][column];
  }

  let numbers = [], drawn = 0, listed = null;

  function select() {
    const kind = find("#kind").value, asked = find("#query-camera").value, among = find("#match-camera").value;
    const [place, wanted] = find("#attribute").value.split("=").map(Number);
    const words = find("#words").value.toLowerCase().split(/\s+/).filter(Boolean);
    numbers = everyNumber.filter((number) => {
      const image = data.queries[number];
      if (kind && !hasKind(number, kind)) return false;
      if (asked !== "" && images.camera[image] !== Number(asked)) return false;
      if (among !== "" && precision(number, first) === null) return false;
      if (wanted !== undefined && code(image, place) !== wanted) return false;
      const text = (person(image) + " " + images.name[image]).toLowerCase();
      return words.every((word) => text.includes(word));
    });
    const sort = data.known ? find("#sort").value : "order";
    const change = (number) => (precision(number, runs[1]) ?? 0) - (precision(number, runs[0]) ?? 0);
    const keys = {
      worst: (number) => precision(number, first) ?? 2, best: (number) => -(precision(number, first) ?? -1), order: () => 0,
      gains: (number) => -change(number), loses: change,
    };
    const key = new Map(numbers.map((number) => [number, keys[sort](number)]));
    numbers.sort((a, b) => key.get(a) - key.get(b) || a - b);
    drawn = 0;
    listed = String(chosen());
    find("#list").replaceChildren();
    find("#shown").textContent = numbers.length.toLocaleString("en") + " of " + everyNumber.length.toLocaleString("en") + " queries" + mean();
    more();
  }

  function mean() {
    if (!data.known) return "";
    const said = runs.map((run) => {
      const known = numbers.map((number) => precision(number, run)).filter((value) => value !== null);
      if (!known.length) return "";
      const value = percent(known.reduce((sum, one) => sum + one, 0) / known.length);
      return several ? run.name + " " + value : value;
    }).filter(Boolean);
    const among = find("#match-camera").value === "" ? "" : " among the images of camera " + data.cameras[Number(find("#match-camera").value)];
    return said.length ? "; mean AP" + among + ": " + said.join(", ") : "";
  }

  /* --------------------------------------------------------------- rows */

  function hit(query, image, gap, rank, open) {
    const right = isRight(query, image);
    const kind = right === null ? "" : right ? " right" : " wrong";
    const sign = right === null ? "" : right ? "✓ " : "✗ ";
    const said = "Rank " + rank + ": " + label(image) + (right === null ? "" : right ? ", right" : ", wrong") + ", distance " + distance(gap);
    const inside = [picture(image, said), make("span", { class: "rank" }, make("span", { class: "sign", "aria-hidden": "true" }, sign), rank + " · " + distance(gap)), label(image)];
    const whole = open ? make("button", { type: "button", title: images.name[image], onclick: open }, ...inside) : make("span", { title: images.name[image] }, ...inside);
    const among = find("#match-camera").value;
    const other = among !== "" && images.camera[image] !== Number(among) ? " other" : "";
    return make("div", { class: "hit" + kind + other, "data-image": image }, whole);
  }

  function lane(number, run, length, open) {
    const query = data.queries[number];
    const line = make("div", { class: "lane", tabindex: "0", role: "group", "aria-label": "Nearest images" + (several ? " of " + run.name : "") });
    run.lists[number].slice(0, length).forEach((image, place) => {
      line.append(hit(query, image, run.distances[number][place], place + 1, open && (() => open(image))));
    });
    return line;
  }

  function sentence(number, run) {
    if (!run.matches) return "";
    if (run.matches[number] === 0) return "no true match";
    return "first match at rank " + run.first[number] + ", " + run.matches[number] + (run.matches[number] === 1 ? " match" : " matches");
  }

  function row(number) {
    const query = data.queries[number];
    const open = (image) => show(number, image, "push");
    const score = data.known ? runs.map((run) => percent(precision(number, run))).join(" → ") : "";
    const chosen = find("#match-camera").value;
    const among = chosen === "" ? "" : " in camera " + data.cameras[Number(chosen)];
    const whole = among && (first.matches ? " of the whole gallery" : "");
    const who = make("button", { class: "who", type: "button", "aria-label": "Whole list of the query " + label(query), onclick: () => open(null) },
      picture(query, "Query: " + label(query)),
      make("div", {}, data.known ? make("b", {}, "AP" + among + " " + score) : null, make("span", {}, label(query)),
        ...runs.map((run) => make("span", {}, sentence(number, run) + whole)), make("span", {}, shortName(query))));
    const lanes = make("div", { class: "lanes" });
    for (const run of runs) {
      if (several) lanes.append(make("p", { class: "lane-name" }, run.name));
      lanes.append(lane(number, run, SHOWN, open));
    }
    return make("div", { class: "query", "data-number": number }, who, lanes);
  }

  function more() {
    const part = document.createDocumentFragment();
    const end = Math.min(numbers.length, drawn + (drawn ? STEP : FIRST));
    for (const number of numbers.slice(drawn, end)) part.append(row(number));
    drawn = end;
    find("#list").append(part);
    find("#more").hidden = drawn >= numbers.length;
  }
  find("#more").addEventListener("click", more);

  /* ------------------------------------------------------------- detail */

  const detail = find("#detail");
  let current = null;

  /* Shows a query; `entry` is what becomes of the address: a new entry of the history, or the present one changed. */
  function show(number, image, entry) {
    current = number;
    const query = data.queries[number];
    const chosen = image ?? (first.lists[number].length ? first.lists[number][0] : null);
    const at = numbers.indexOf(number);
    find("#where").textContent = (at < 0 ? "" : "query " + (at + 1) + " of " + numbers.length + ": ") + label(query) + ", " + images.name[query];
    const chose = detail.open && find("#inside").contains(document.activeElement);
    find("#inside").replaceChildren(pair(number, query, chosen), ...runs.map((run) => whole(number, query, run, chosen)));
    if (!detail.open) detail.showModal();
    const again = chose && find("#inside").querySelector(".hit[aria-current] button");
    if (again) again.focus();
    if (entry === "push") history.pushState({ opened: true }, "", address());
    else if (entry !== "keep") history.replaceState(history.state, "", address());
  }

  function pair(number, query, image) {
    const box = make("div", { class: "pair" }, make("figure", {}, picture(query, "Query"), make("figcaption", {}, "Query: " + label(query))));
    if (image === null) return box;
    const right = isRight(query, image);
    box.append(make("figure", {}, picture(image, "Chosen image"), make("figcaption", {}, (right === null ? "" : right ? "Right: " : "Wrong: ") + label(image) + " (" + shortName(image) + ")")));
    const maps = (data.maps[number] || []).find((one) => one[0] === image);
    if (maps) {
      const files = maps.slice(1).map((name, place) => make("img", { src: folder + "/maps/" + name, alt: place ? "Where the network looks in the image" : "Where the network looks in the query" }));
      box.append(make("figure", { class: "both" }, make("div", {}, ...files), make("figcaption", {}, "What adds to the similarity of the two (" + data.maps_by + "): yellow adds most.")));
    }
    const { same, other } = attributes(query, image);
    if (same.length || other.length) {
      box.append(make("div", { class: "attributes" },
        make("h3", {}, "Differ: " + other.length), other.length ? make("div", { class: "wrong" }, other.join("; ")) : make("div", {}, "nothing that is annotated"),
        make("h3", {}, "Agree: " + same.length), make("div", {}, same.join("; "))));
    }
    const mapped = (data.maps[number] || []).map((one) => one[0]);
    if (mapped.length && !maps) box.append(make("p", { class: "note" }, "Maps of where the network looks are there for: " + mapped.map((one) => label(one)).join("; ") + "."));
    if (data.no_maps) box.append(make("p", { class: "note" }, "There are no maps of where this network looks. " + data.no_maps));
    return box;
  }

  function whole(number, query, run, chosen) {
    const box = make("div", {}, make("h3", {}, (several ? run.name + ": " : "") + (run.ap ? "AP " + percent(run.ap[number]) + ", " + sentence(number, run) : "nearest images")));
    const line = make("div", { class: "whole" });
    const add = (image, gap, rank) => {
      const one = hit(query, image, gap, rank, () => show(number, image));
      if (image === chosen) one.setAttribute("aria-current", "true");
      line.append(one);
    };
    run.lists[number].forEach((image, place) => add(image, run.distances[number][place], place + 1));
    if (run.rest[number].length) line.append(make("span", { class: "gap" }, "further true matches"));
    run.rest[number].forEach(([rank, image, gap]) => add(image, gap, rank));
    box.append(line);
    return box;
  }

  function step(by) {
    const at = numbers.indexOf(current) + by;
    if (current !== null && at >= 0 && at < numbers.length) show(numbers[at], null);
  }
  for (const button of detail.querySelectorAll("[data-step]")) button.addEventListener("click", () => step(Number(button.dataset.step)));
  find("#close").addEventListener("click", () => detail.close());
  detail.addEventListener("close", () => {
    const back = document.querySelector('.query[data-number="' + current + '"] .who');
    current = null;
    if (asked().has("q")) {  // closed by hand, and not by going back
      if (history.state && history.state.opened) history.back();
      else history.replaceState(null, "", address());
    }
    if (back) back.focus();
  });
  detail.addEventListener("click", (event) => { if (event.target === detail) detail.close(); });
  document.addEventListener("keydown", (event) => {
    if (!detail.open) return;
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") { step(event.key === "ArrowLeft" ? -1 : 1); event.preventDefault(); }
  });

  /* ------------------------------------------------------------ address */

  /* The part behind # holds the filters and the open query: it can be sent to others, and Back closes the query. */
  const CONTROLS = { sort: "#sort", error: "#kind", camera: "#query-camera", match: "#match-camera", attribute: "#attribute", words: "#words" };
  const asked = () => new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");

  function chosen() {
    const said = new URLSearchParams();
    for (const [name, control] of Object.entries(CONTROLS)) {
      const node = find(control), word = node.selectedOptions ? (node.selectedOptions[0] || { dataset: {} }).dataset.word : node.value;
      if (word && !(name === "sort" && word === FIRST_ORDER)) said.set(name, word);
    }
    return said;
  }

  function address() {
    const said = chosen();
    if (current !== null) said.set("q", current);
    return String(said) ? "#" + said : location.pathname + location.search;
  }

  function filter() {
    select();
    history.replaceState(history.state, "", address());
  }

  function fromAddress() {
    if (location.hash.length > 1 && !location.hash.includes("=")) return;  // a section of the page
    const said = asked();
    for (const [name, control] of Object.entries(CONTROLS)) {
      const node = find(control), word = said.get(name) || "";
      if (!node.options) node.value = word;
      else node.value = ([...node.options].find((one) => one.dataset.word === word) || { value: name === "sort" ? FIRST_ORDER : "" }).value;
    }
    if (String(chosen()) !== listed) select();  // otherwise the list keeps its place, and the focus too
    const number = /^\d+$/.test(said.get("q") || "") ? Number(said.get("q")) : -1;
    if (number >= 0 && number < data.queries.length) show(number, null, "keep");
    else if (detail.open) detail.close();
  }

  /* ---------------------------------------- other parts of the page */

  const filters = find("#filters");
  filters.addEventListener("input", filter);
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", () => setTimeout(() => { find("#sort").value = FIRST_ORDER; filter(); }));
  const cameraNamed = (name) => { const place = data.cameras.indexOf(name); return place < 0 ? "" : String(place); };
  for (const button of document.querySelectorAll("[data-query-camera]")) {
    button.addEventListener("click", () => {
      filters.reset();
      setTimeout(() => {
        find("#query-camera").value = cameraNamed(button.dataset.queryCamera);
        find("#match-camera").value = cameraNamed(button.dataset.galleryCamera);
        filter();
        find("#queries").scrollIntoView();
      });
    });
  }
  for (const button of document.querySelectorAll("[data-person]")) {
    button.addEventListener("click", () => {
      filters.reset();
      setTimeout(() => { find("#words").value = button.dataset.person; if (!several) find("#kind").value = "w"; filter(); find("#queries").scrollIntoView(); });
    });
  }

  function scatter() {
    const points = data.points, box = document.querySelector(".points");
    if (!points) {
      for (const node of document.querySelectorAll("[data-needs=points]")) node.hidden = true;
      return;
    }
    const SVG = "http://www.w3.org/2000/svg", svg = box.querySelector("svg"), preview = box.querySelector(".preview");
    const legend = document.querySelector("#map .legend");
    svg.setAttribute("viewBox", "0 0 800 600");
    const shapes = ["M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0", "M0 -6L5.5 4.5H-5.5Z", "M-4.6 -4.6H4.6V4.6H-4.6Z", "M0 -6.5L5 0L0 6.5L-5 0Z"];
    const style = (who) => { const place = points.named.indexOf(who); return place < 0 ? null : { color: "var(--c" + (place % 8) + ")", shape: shapes[Math.floor(place / 8) + (place % 8) % 2 * 2] || shapes[0] }; };
    points.image.forEach((image, place) => {
      const own = style(images.person[image]);
      const mark = document.createElementNS(SVG, own ? "path" : "circle");
      const x = 12 + 776 * points.x[place], y = 588 - 576 * points.y[place];
      if (own) { mark.setAttribute("d", own.shape); mark.setAttribute("transform", "translate(" + x + " " + y + ")"); mark.style.fill = own.color; }
      else { mark.setAttribute("cx", x); mark.setAttribute("cy", y); mark.setAttribute("r", 3); }
      mark.setAttribute("class", own ? "point" : "point other");
      const over = () => {
        preview.replaceChildren(make("img", { src: file(image), alt: "" }), label(image));
        preview.hidden = false;
        const scale = svg.clientWidth / 800;
        preview.style.left = Math.min(x * scale + 12, Math.max(0, svg.clientWidth - 92)) + "px";
        preview.style.top = Math.max(0, Math.min(y * scale - 40, svg.clientHeight - 190)) + "px";
      };
      mark.addEventListener("pointerenter", over);
      mark.addEventListener("click", over);
      mark.addEventListener("pointerleave", () => { preview.hidden = true; });
      svg.append(mark);
    });
    points.named.forEach((who) => {
      const own = style(who), mark = document.createElementNS(SVG, "svg"), path = document.createElementNS(SVG, "path");
      mark.setAttribute("width", 14); mark.setAttribute("height", 14); mark.setAttribute("viewBox", "-7 -7 14 14");
      path.setAttribute("d", own.shape); path.style.fill = own.color; mark.append(path);
      legend.append(make("li", {}, mark, " " + data.people[who]));
    });
  }

  find("#how").textContent = data.known
    ? "✓ and a whole border: the right person; ✗ and a dashed border: a wrong one. What the protocol leaves out is not shown. A click shows the whole list."
    : "It is not known whom the images show, so none is marked as right or wrong.";
  scatter();
  window.addEventListener("popstate", fromAddress);
  fromAddress();
}
