// Learning curves: under one condition, each normalizer's mean over its seeds, and each seed faintly behind it.
function meanOf(lines) {
  const longest = Math.max(...lines.map((line) => line.length));
  return Array.from({length: longest}, (_, at) => {
    const there = lines.filter((line) => at < line.length).map((line) => line[at]);
    return there.reduce((one, other) => one + other, 0) / there.length;
  });
}

function nameOf(condition) {
  const told = data.keys.map((key, at) => [key, data.conditions[condition][at]]).filter((pair) => pair[1] !== null);
  return told.map(([key, value]) => `${key.replaceAll("_", " ")} ${value}`).join(", ") || "all";
}

function drawCurves(section, series, condition) {
  const lines = [];
  const names = [];
  for (const name of all("#filters [data-chip]").map((chip) => chip.dataset.chip).filter((one) => !chosen.hidden.has(one))) {
    const own = Object.values(data.cells).filter((cell) => cell.normalizer === name && cell.of === condition);
    const values = own.map((cell) => (cell.series || {})[series]).filter((one) => one && one.length);
    if (!values.length) continue;
    if (values.length > 1) lines.unshift(...values.map((one) => ({values: one, colour: colour(name), faint: true})));
    lines.push({values: meanOf(values), colour: colour(name)});
    names.push([name, values.length]);
  }
  const place = section.querySelector(".place");
  const legend = make("p", {class: "settings"});
  for (const [name, number] of names) legend.append(make("span", {}, make("span", {class: "swatch", style: `background: ${colour(name)}`}), `${name} (${number})`), " ");
  if (lines.length) place.replaceChildren(plot(lines, "epoch", series.replaceAll("_", " "), `${series} by epoch, ${nameOf(condition)}`), legend);
  else place.replaceChildren(make("p", {class: "quiet"}, "No normalizer that is shown has this curve under this condition."));
}

function startCurves() {
  const section = document.getElementById("curves");
  const cells = Object.values(data.cells).filter((cell) => cell.series);
  if (!section || !cells.length) return;
  section.hidden = false;
  for (const link of all(".contents [hidden]")) link.hidden = false;
  const [which, where] = all("select", section);
  for (const name of new Set(cells.flatMap((cell) => Object.keys(cell.series)))) which.append(make("option", {value: name}, name.replaceAll("_", " ")));
  for (const number of new Set(cells.map((cell) => cell.of))) where.append(make("option", {value: number}, nameOf(number)));
  const again = () => drawCurves(section, which.value, Number(where.value));
  which.addEventListener("change", again);
  where.addEventListener("change", again);
  document.addEventListener("filtered", again);
  again();
}
