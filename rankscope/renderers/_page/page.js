// Makes the table sortable and filterable, saves the data, and opens what is folded for print. The page is whole without.
"use strict";
(() => {
  const by = (id) => document.getElementById(id);
  const table = by("numbers");

  const save = by("save");
  save.hidden = false;
  save.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([by("data").textContent], { type: "application/json" }));
    link.download = "rankscope.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });

  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const each of folded) each.open = true;
  });
  addEventListener("afterprint", () => {
    for (const each of folded) each.open = false;
  });

  if (!table) return;
  const body = table.tBodies[0];
  const lines = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const names = Number(table.dataset.names);
  const telling = Number(table.dataset.telling);
  const all = by("all-measures");
  const layer = by("by-layer");
  const measure = by("by-measure");
  const status = by("by-status");
  document.querySelector(".controls").hidden = false;

  // Sorting: text by its letters, numbers by size, and what has no number last either way.
  const number = (cell) => {
    const text = cell.firstChild ? cell.firstChild.textContent.replace("≤", "") : "";
    return text === "" ? NaN : Number(text);
  };
  const sort = (column) => {
    const head = heads[column];
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const sign = down ? -1 : 1;
    const text = head.classList.contains("w");
    const keys = new Map(
      lines.map((line) => [line, text ? line.cells[column].textContent : number(line.cells[column])]),
    );
    const order = (a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)];
      if (text) return sign * x.localeCompare(y, "en", { numeric: true });
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
      return sign * (x - y);
    };
    lines.sort(order);
    body.append(...lines);
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(column));
  });

  // Filtering: lines by layer and status, columns by measure.
  const sheet = (cell, hidden) => {
    if (cell.hidden !== hidden) cell.hidden = hidden;
  };
  const has = (line, shown, wanted) =>
    shown.some((column) => {
      const cell = line.cells[column];
      return wanted === "ok" ? !cell.className && cell.textContent !== "" : cell.className === wanted;
    });
  const filter = () => {
    const part = measure.value.trim().toLowerCase();
    const shown = [];
    heads.forEach((head, column) => {
      if (column < names) return;
      const fits = part ? head.textContent.toLowerCase().includes(part) : all.checked || column < names + telling;
      if (fits) shown.push(column);
    });
    const columns = new Set(shown);
    const word = layer.value.trim().toLowerCase();
    let count = 0;
    heads.forEach((head, column) => sheet(head, column >= names && !columns.has(column)));
    for (const line of lines) {
      const where = [...line.cells].slice(0, names).map((cell) => cell.textContent.toLowerCase());
      const fits = (!word || where.some((text) => text.includes(word))) && (!status.value || has(line, shown, status.value));
      line.hidden = !fits;
      if (!fits) continue;
      count += 1;
      for (let column = names; column < heads.length; column += 1) sheet(line.cells[column], !columns.has(column));
    }
    by("shown").textContent = `${count} of ${lines.length} layers, ${shown.length} of ${heads.length - names} measures`;
  };
  for (const each of [layer, measure]) each.addEventListener("input", filter);
  for (const each of [status, all]) each.addEventListener("change", filter);
  document.querySelector(".controls").addEventListener("submit", (event) => event.preventDefault());
  filter();
})();
