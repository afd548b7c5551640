// What the page knows of its conditions and records, and what a reader chose to see.
const data = JSON.parse(document.getElementById("data").textContent);
const chosen = {hidden: new Set(), settings: {}, metric: ""};
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children); // strings become text, whatever they hold
  return element;
}

function draw(tag, attributes = {}, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

function colour(normalizer) {
  const chip = all("#filters [data-chip]").find((one) => one.dataset.chip === normalizer);
  return chip ? chip.dataset.colour : "currentColor";
}
