// Filters: by normalizer, by any setting that varies, by metric. What is left out is hidden; in a figure, whose lines join
// several conditions, the marks of other conditions fade, and the bar says so.
function fits(number) {
  const values = data.conditions[number];
  // a condition without such a setting, as of another measure, is not asked
  return data.keys.every((key, at) => !(key in chosen.settings) || values[at] === null || values[at] === chosen.settings[key]);
}

const fitsAny = (element) => element.dataset.of.split(" ").some((number) => fits(Number(number)));
const seen = (element) => !chosen.hidden.has(element.dataset.normalizer);

function filterTable(table) {
  for (const row of all("tbody tr", table)) {
    const own = all("td[data-of]", row);
    for (const cell of own) cell.classList.toggle("out", !fitsAny(cell));
    const left = (!row.dataset.normalizer || seen(row)) && (!row.dataset.of || fitsAny(row));
    row.hidden = !left || (own.length > 0 && own.every((cell) => cell.classList.contains("out")));
  }
  const heads = all("thead th", table);
  const rows = all("tbody tr", table).filter((row) => row.querySelector("td[data-of]"));
  heads.forEach((head, at) => {
    const column = rows.map((row) => row.cells[at]).filter((cell) => cell && cell.dataset.of);
    const gone = column.length > 0 && column.every((cell) => cell.classList.contains("out"));
    for (const cell of [head, ...rows.map((row) => row.cells[at])]) if (cell) cell.classList.toggle("gone", gone);
  });
}

function applyFilters() {
  const narrowed = chosen.hidden.size > 0 || Object.keys(chosen.settings).length > 0;
  document.body.classList.toggle("narrowed", narrowed);
  all("main table").forEach(filterTable);
  for (const part of all("main [data-metric]")) part.hidden = Boolean(chosen.metric) && !part.dataset.metric.split(" ").includes(chosen.metric);
  // a trial is of no condition
  for (const group of all("details[data-normalizer]")) group.hidden = !seen(group) || ("of" in group.dataset && !fitsAny(group));
  hideEmptyParts(all(".part"));
  for (const series of all("[data-series]")) series.style.display = chosen.hidden.has(series.dataset.series) ? "none" : "";
  for (const mark of all("[data-cell]")) {
    const cell = data.cells[mark.dataset.cell];
    mark.style.opacity = cell && !fits(cell.of) ? 0.12 : "";
  }
  tellFilters();
  document.dispatchEvent(new Event("filtered"));
}

function hideEmptyParts(parts) {
  for (const part of parts) part.hidden = false;
  for (const part of parts) {
    const rows = all("tbody tr", part);
    part.hidden = rows.length > 0 && rows.every((row) => row.closest("[hidden]"));
  }
}

function tellFilters() {
  const left = data.conditions.filter((_, number) => fits(number)).length;
  const chips = all("#filters [data-chip]");
  const shown = chips.filter((chip) => !chosen.hidden.has(chip.dataset.chip)).length;
  document.getElementById("shown").textContent =
    `${shown} of ${chips.length} normalizers, ${left} of ${data.conditions.length} conditions` +
    (left < data.conditions.length ? "; in figures the marks of others fade" : "");
  for (const chip of chips) chip.setAttribute("aria-pressed", String(!chosen.hidden.has(chip.dataset.chip)));
  document.getElementById("clear").hidden = !(chosen.hidden.size || chosen.metric || Object.keys(chosen.settings).length);
}

function clearFilters() {
  chosen.hidden.clear();
  chosen.settings = {};
  chosen.metric = "";
  for (const select of all("#filters select")) select.value = "";
  applyFilters();
}

function startFilters() {
  const bar = document.getElementById("filters");
  bar.hidden = false;
  for (const chip of all("[data-chip]", bar)) {
    chip.addEventListener("click", () => {
      const name = chip.dataset.chip;
      if (!chosen.hidden.delete(name)) chosen.hidden.add(name);
      applyFilters();
    });
  }
  for (const select of all("select", bar)) {
    select.addEventListener("change", () => {
      if (select.name === "metric") chosen.metric = select.value;
      else if (select.value) chosen.settings[select.dataset.key] = select.value;
      else delete chosen.settings[select.dataset.key];
      applyFilters();
    });
  }
  document.getElementById("clear").addEventListener("click", clearFilters);
  tellFilters();
}
