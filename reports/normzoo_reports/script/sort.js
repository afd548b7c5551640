// Tables sort by any column: up, down, and back to the order of the suite. Numbers by value, what has none comes last.
function valueOf(cell) {
  const text = (cell.querySelector("b") || cell).textContent.trim().replaceAll(",", "").replace("−", "-");
  const number = parseFloat(text);
  return Number.isNaN(number) ? text : number;
}

function compare(one, other) {
  const kinds = [typeof one, typeof other];
  if (kinds[0] !== kinds[1]) return kinds[0] === "number" ? -1 : 1;
  return kinds[0] === "number" ? one - other : one.localeCompare(other);
}

function sortTable(table, head, at, way) {
  const body = table.tBodies[0];
  const rows = [...body.rows].sort((one, other) => one.dataset.at - other.dataset.at);
  if (way) rows.sort((one, other) => {
    const pair = [valueOf(one.cells[at]), valueOf(other.cells[at])];
    const empty = pair.map((value) => typeof value === "string");
    // words under numbers say why there is none, and stay last either way
    return empty[0] !== empty[1] ? empty[0] - empty[1] : way * compare(...pair);
  });
  body.append(...rows);
  table.classList.toggle("flat", Boolean(way));
  for (const one of all("thead th", table)) one.removeAttribute("aria-sort");
  if (way) head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
}

function startSorting() {
  for (const table of all("main table")) {
    const rows = [...(table.tBodies[0] || {rows: []}).rows];
    if (rows.length < 2) continue;
    rows.forEach((row, at) => { row.dataset.at = at; });
    all("thead th", table).forEach((head, at) => {
      const button = make("button", {type: "button", class: "sort"}, ...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const before = head.getAttribute("aria-sort");
        sortTable(table, head, at, before === "ascending" ? -1 : before === "descending" ? 0 : 1);
      });
    });
  }
}
