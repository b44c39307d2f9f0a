"use strict";

/* Answers by click or key; they stay in the browser's storage under `mark` and go into a CSV of `head` and `rows`. */
function label(mark, head, rows) {
  const KEYS = { s: "same", d: "different", u: "unknown" };
  const find = (id) => document.getElementById(id);
  const pairs = [...document.querySelectorAll("#pairs li")];
  const answers = rows.map(() => "");
  let address = "";

  try {
    const kept = JSON.parse(localStorage.getItem(mark) ?? "[]");
    kept.slice(0, rows.length).forEach((answer, place) => {
      if (Object.values(KEYS).includes(answer)) answers[place] = answer;
    });
  } catch { /* no storage, or something else in it: begin without answers */ }

  const show = (place) => {
    const pair = pairs[place];
    if (answers[place]) pair.dataset.answer = answers[place];
    else delete pair.dataset.answer;
    for (const button of pair.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset.answer === answers[place]));
    }
  };

  const count = () => {
    const done = answers.filter(Boolean).length;
    find("progress").textContent = done ? `${done} of ${rows.length} answered` : "No answer yet";
    if (address) URL.revokeObjectURL(address);
    const text = [head, ...rows.map((row, place) => row + answers[place])].join("\n") + "\n";
    address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    find("download").href = address;
  };

  const keep = () => {
    try {
      localStorage.setItem(mark, JSON.stringify(answers));
    } catch { /* no storage: they stay on the page */ }
  };

  const hide = () => {
    const only = find("open-only").checked;
    pairs.forEach((pair, place) => { pair.hidden = only && Boolean(answers[place]); });
  };

  const answer = (place, given) => {
    answers[place] = given;
    show(place);
    count();
    keep();
  };

  const go = (place, step) => {
    let next = place + step;
    while (next >= 0 && next < pairs.length && pairs[next].hidden) next += step;
    if (next < 0 || next >= pairs.length) return;
    pairs[next].focus({ preventScroll: true });
    pairs[next].scrollIntoView({ block: "nearest" });
  };

  pairs.forEach((pair, place) => {
    for (const button of pair.querySelectorAll("button")) {
      button.addEventListener("click", () => answer(place, answers[place] === button.dataset.answer ? "" : button.dataset.answer));
    }
    show(place);
  });
  find("open-only").addEventListener("change", hide);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.tagName === "INPUT") return;
    const pair = event.target.closest?.("#pairs li");
    const place = pair ? Number(pair.dataset.place) : -1;
    const given = KEYS[event.key.toLowerCase()];
    if (given) {
      const at = place < 0 ? Math.max(0, answers.indexOf("")) : place;
      answer(at, given);
      go(at, 1);
    } else if (event.key === "Backspace" && place >= 0) answer(place, "");
    else if (event.key === "ArrowDown") go(place, 1);
    else if (event.key === "ArrowUp") go(place < 0 ? pairs.length : place, -1);
    else return;
    event.preventDefault();
  });
  count();
}
