// A record's details, where its cell is opened: every setting, the curves, the raw samples, the whole reason, the log.
function listOf(pairs) {
  const list = make("p", {class: "settings"});
  for (const [key, value] of pairs) list.append(make("span", {}, `${key} `, make("b", {}, value)), " ");
  return list;
}

function fillDetails(place, cell, normalizer) {
  place.append(listOf(Object.entries(cell.settings || {})));
  const hashes = [["normalizer's source", cell.source], ["data", cell.data], ["split", cell.split]].filter((pair) => pair[1]);
  if (hashes.length) place.append(listOf(hashes));
  if ("log" in cell) place.append(make("details", {class: "log"}, make("summary", {}, "the end of what was printed"), make("pre", {tabindex: "0"}, data.logs[cell.log])));
  if (cell.reason) place.append(make("pre", {tabindex: "0"}, cell.reason));
  for (const [name, values] of Object.entries(cell.series || {})) place.append(plot([{values, colour: colour(normalizer)}], "epoch", name.replaceAll("_", " "), `${name} by epoch`));
  for (const [name, values] of Object.entries(cell.samples || {})) {
    place.append(plot([{values, colour: colour(normalizer), dots: true}], "sample, in the order of measuring", name.replaceAll("_", " "), `${name}, every sample`));
    place.append(make("details", {}, make("summary", {}, `${values.length} samples of ${name}`), make("pre", {tabindex: "0"}, values.join(" "))));
  }
}

function startDetails() {
  for (const block of all(".cell")) {
    const id = block.id.replace("cell-", "");
    const cell = data.cells[id] || data.trials[id];
    if (!cell || !cell.settings) continue;
    const more = make("details", {class: "more"}, make("summary", {}, `settings, curves, samples${"log" in cell ? ", log" : ""}`));
    more.addEventListener("toggle", () => {
      if (more.open && more.children.length === 1) fillDetails(more, cell, cell.normalizer);
    });
    block.append(more);
  }
}
