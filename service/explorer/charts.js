// Two small SVG charts.

import { h, score, seconds, svg } from "./dom.js";

const WIDTH = 600;
const BARS = 44;
const ORDER = ["download", "verify", "read", "validate", "arrange", "analyse", "write", "open", "warm", "gates", "swap"];

// The phases of a load as one bar, divided in proportion to their seconds.
export function phases(took) {
  const entries = Object.entries(took).sort(([one], [other]) => ORDER.indexOf(one) - ORDER.indexOf(other));
  const total = entries.reduce((sum, [, value]) => sum + value, 0) || 1;
  let x = 0;
  const parts = entries.map(([name, value], place) => {
    const width = (WIDTH * value) / total;
    const part = svg(
      "rect",
      { x, y: 0, width: Math.max(0, width - 1.5), height: 14, rx: 2, class: `phase-${place}` },
      svg("title", {}, `${name}: ${seconds(value)}`),
    );
    x += width;
    return part;
  });
  const names = entries.map(([name, value], place) =>
    h("li", {}, h("i", { class: `phase-${place}` }), name, h("b", {}, seconds(value))),
  );
  const label = `${seconds(total)} in total: ${entries.map(([name, value]) => `${name} ${seconds(value)}`).join(", ")}`;
  return h(
    "div",
    {},
    svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} 14`, class: "phases", role: "img", "aria-label": label, preserveAspectRatio: "none" },
      parts,
    ),
    h("ul", { class: "legend" }, names),
    h("p", { class: "total" }, "Total", h("b", {}, seconds(total))),
  );
}

// Score ranges as histograms above box plots; scores share one scale, popularity has its own.
export function ranges({ individual, recommendation, popularity }) {
  const low = Math.min(individual.min, recommendation.min);
  const high = Math.max(individual.max, recommendation.max);
  return h(
    "div",
    { class: "ranges" },
    range("Any item", "random users and items", individual, low, high),
    range("Recommended", "the top 20 of sampled users", recommendation, low, high),
    popularity && range("Popularity", "users per item", popularity, 0, popularity.max),
  );
}

// The histogram's bars, from the minimum to the maximum.
function histogram({ min, max, histogram: counts }, at) {
  const part = (max - min) / counts.length;
  const most = Math.max(...counts);
  return counts.map((count, place) => {
    const from = min + place * part;
    const height = count && Math.max(1, (BARS * count) / most);
    const bar = { x: at(from), y: BARS - height, width: Math.max(1, at(from + part) - at(from) - 1), height };
    return svg("rect", { ...bar, class: "bin" }, svg("title", {}, `${count} from ${score(from)} to ${score(from + part)}`));
  });
}

function range(name, note, numbers, low, high) {
  const at = (value) => ((value - low) / (high - low || 1)) * (WIDTH - 8) + 4;
  const { min, p1, p50, p99, max, mean, std } = numbers;
  const label = `${name}: ${score(min)} to ${score(max)}, median ${score(p50)}, mean ${score(mean)}`;
  const marks = [
    svg("line", { x1: 0, x2: WIDTH, y1: 17, y2: 17, class: "axis" }),
    svg("line", { x1: at(min), x2: at(max), y1: 17, y2: 17, class: "whisker" }),
    svg("line", { x1: at(min), x2: at(min), y1: 11, y2: 23, class: "whisker" }),
    svg("line", { x1: at(max), x2: at(max), y1: 11, y2: 23, class: "whisker" }),
    svg("rect", { x: at(p1), y: 6, width: Math.max(2, at(p99) - at(p1)), height: 22, rx: 4, class: "box" }),
    svg("line", { x1: at(p50), x2: at(p50), y1: 6, y2: 28, class: "median" }),
  ];
  const told = [
    ["min", min],
    ["p1", p1],
    ["median", p50],
    ["mean", mean],
    ["std", std],
    ["p99", p99],
    ["max", max],
  ];
  return h(
    "figure",
    {},
    h("figcaption", {}, h("b", {}, name), h("small", {}, note)),
    svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${BARS + 34}`, role: "img", "aria-label": label, preserveAspectRatio: "none" },
      histogram(numbers, at),
      svg("g", { transform: `translate(0 ${BARS})` }, marks),
    ),
    h(
      "dl",
      {},
      told.map(([what, value]) => h("div", {}, h("dt", {}, what), h("dd", {}, score(value)))),
    ),
  );
}
