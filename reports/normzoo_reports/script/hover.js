// The value of a mark under the pointer; a click leads to its records. Every value stands in the figure's table as well.
function startHover() {
  const tip = make("div", {class: "tip", role: "tooltip", hidden: ""});
  document.body.append(tip);
  for (const mark of all("[data-cell]")) {
    const title = mark.querySelector("title");
    if (!title) continue;
    mark.dataset.told = title.textContent;
    title.remove(); // the browser's own would show beside ours
    mark.addEventListener("pointerenter", (event) => showTip(tip, mark.dataset.told, event));
    mark.addEventListener("pointerleave", () => { tip.hidden = true; });
    if (mark.dataset.cell in data.cells) mark.addEventListener("click", () => { location.hash = `cell-${mark.dataset.cell}`; });
  }
}

function showTip(tip, told, event) {
  tip.textContent = told;
  tip.hidden = false;
  const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
  tip.style.left = `${Math.max(8, Math.min(event.clientX + 12, room))}px`;
  tip.style.top = `${Math.max(8, event.clientY - tip.offsetHeight - 12)}px`;
}
