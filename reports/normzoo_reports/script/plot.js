// A small line plot for what is drawn on demand: learning curves, and the raw samples of a timing.
const WIDTH = 640;
const HEIGHT = 260;
const EDGE = {left: 62, right: 12, top: 10, bottom: 38};

function ticksOf(low, high, most = 5) {
  if (!(high > low)) return [low];
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const first = Math.ceil(low / step);
  return Array.from({length: Math.floor(high / step) - first + 1}, (_, at) => Number(((first + at) * step).toPrecision(12)));
}

const digits = (value) => Number(value.toPrecision(4)).toLocaleString("en", {maximumSignificantDigits: 4});

// lines: [{values, colour, faint, dots}], each value over its place, from 1 on
function plot(lines, across, up, told) {
  const every = lines.flatMap((line) => line.values);
  const longest = lines.reduce((most, line) => Math.max(most, line.values.length), 0);
  let [low, high] = every.reduce((ends, one) => [Math.min(ends[0], one), Math.max(ends[1], one)], [Infinity, -Infinity]);
  if (low === high) [low, high] = [low - Math.abs(low || 1) * 0.1, high + Math.abs(high || 1) * 0.1];
  const x = (at) => EDGE.left + (longest > 1 ? at / (longest - 1) : 0.5) * (WIDTH - EDGE.left - EDGE.right);
  const y = (value) => HEIGHT - EDGE.bottom - (value - low) / (high - low) * (HEIGHT - EDGE.top - EDGE.bottom);
  const svg = draw("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": told, class: "plot"});
  for (const tick of ticksOf(low, high)) {
    svg.append(draw("line", {x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y(tick), y2: y(tick), class: "grid"}));
    svg.append(draw("text", {x: EDGE.left - 8, y: y(tick) + 4, "text-anchor": "end"}, digits(tick)));
  }
  for (const tick of ticksOf(1, longest).filter(Number.isInteger)) svg.append(draw("text", {x: x(tick - 1), y: HEIGHT - EDGE.bottom + 18, "text-anchor": "middle"}, String(tick)));
  svg.append(draw("text", {x: (WIDTH + EDGE.left) / 2, y: HEIGHT - 4, "text-anchor": "middle"}, across));
  svg.append(draw("text", {x: 12, y: HEIGHT / 2 - 12, "text-anchor": "middle", transform: `rotate(-90 12 ${HEIGHT / 2 - 12})`}, up));
  for (const line of lines) {
    const places = line.values.map((value, at) => [x(at), y(value)]);
    if (line.dots || places.length === 1) for (const [cx, cy] of places) svg.append(draw("circle", {cx, cy, r: 2.5, style: `fill: ${line.colour}`}));
    else svg.append(draw("polyline", {points: places.map((place) => place.map((one) => one.toFixed(1)).join(",")).join(" "), class: line.faint ? "faint" : "", style: `stroke: ${line.colour}`}));
  }
  return svg;
}
