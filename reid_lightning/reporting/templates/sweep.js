"use strict";

/* The page of a sweep: a filter of options, what belongs to an option lit up together, and commands to copy. */
{
  const rows = [...document.querySelectorAll("#options tbody tr")];
  const marks = new Map(rows.map((row) => [row.dataset.key, []]));
  for (const mark of document.querySelectorAll("[data-key]")) marks.get(mark.dataset.key)?.push(mark);
  const words = new Map(rows.map((row) => [row, [...row.querySelectorAll(".name, .word")].map((one) => one.textContent.toLowerCase()).join(" ")]));

  const filter = document.querySelector("#filter");
  const choose = () => {
    const wanted = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const hide = !wanted.every((word) => words.get(row).includes(word));
      for (const mark of marks.get(row.dataset.key)) mark.toggleAttribute("hidden", hide);
      shown += hide ? 0 : 1;
    }
    document.querySelector("#shown").textContent = `${shown} of ${rows.length} options`;
  };
  filter.addEventListener("input", choose);
  choose();

  let lit = null;
  const light = (event) => {
    const key = event.target.closest?.("[data-key]")?.dataset.key ?? null;
    if (key === lit) return;
    for (const mark of marks.get(lit) ?? []) mark.classList.remove("on");
    for (const mark of marks.get(key) ?? []) mark.classList.add("on");
    document.body.classList.toggle("lit", key !== null);
    lit = key;
  };
  document.addEventListener("mouseover", light);
  document.addEventListener("focusin", light);

  for (const button of document.querySelectorAll(".copy")) {
    button.addEventListener("click", async () => {
      const code = button.parentElement.querySelector("code");
      let copied = true;
      try {
        await navigator.clipboard.writeText(code.textContent);
      } catch {
        getSelection().selectAllChildren(code);
        copied = document.execCommand("copy");
      }
      button.textContent = copied ? "copied" : "selected";
      setTimeout(() => { button.textContent = "copy"; }, 2000);
    });
  }
}
