"use strict";
// Sorting: a heading's button sorts by its column, a second click reverses; rows without a value are always last.
for (const heading of document.querySelectorAll("#leaderboard thead th")) {
  heading.querySelector("button").addEventListener("click", () => {
    const table = heading.closest("table"), column = heading.cellIndex;
    const descending = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const numeric = heading.dataset.kind === "number";
    const value = (row) => row.cells[column].dataset.sort;
    const compare = (a, b) => {
      const [left, right] = [value(a), value(b)];
      if (left === "" || right === "") return (left === "") - (right === "");
      const order = numeric ? left - right : left.localeCompare(right, "en", { numeric: true });
      return descending ? -order : order;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  });
}
// A button shows or hides the columns of its family.
for (const button of document.querySelectorAll("button[data-columns]")) {
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    for (const cell of document.querySelectorAll("#leaderboard [data-family]")) {
      if (cell.dataset.family === button.dataset.columns) cell.hidden = !on;
    }
  });
}
