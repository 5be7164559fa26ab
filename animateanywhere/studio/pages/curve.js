// Loss over steps, as a line.

import { fill, h, s } from "./dom.js";

const number = (value) => (Math.abs(value) >= 1000 ? Math.round(value).toString() : Number(value.toPrecision(3)).toString());

/** A plot of [step, value] pairs: thin as measured, bold as a mean of its neighbors. */
export function curve(box, points, name, total) {
  if (points.length < 2) return fill(box);
  const half = Math.max(Math.round(points.length / 40), 1);
  const mean = points.map(([step], i) => {
    const some = points.slice(Math.max(i - half, 0), i + half + 1);
    return [step, some.reduce((sum, [, value]) => sum + value, 0) / some.length];
  });
  const values = points.map(([, value]) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const last = Math.max(total || 0, points.at(-1)[0]);
  const line = (pairs) => pairs.map(([step, value]) =>
    `${((step / last) * 100).toFixed(2)},${(high > low ? ((high - value) / (high - low)) * 100 : 50).toFixed(2)}`).join(" ");
  const picture = s("svg", { class: "curve", viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img",
    "aria-label": `${name}: ${number(mean[0][1])} at the beginning, ${number(mean.at(-1)[1])} at step ${mean.at(-1)[0]}` },
  s("line", { class: "axis", x1: 0, x2: 100, y1: 100, y2: 100 }), s("line", { class: "axis", x1: 0, x2: 100, y1: 0, y2: 0 }),
  s("polyline", { class: "raw", points: line(points) }), s("polyline", { class: "line", points: line(mean) }));
  return fill(box, h("div", { class: "plot" },
    h("div", { class: "y" }, h("span", {}, number(high)), h("span", {}, number(low))), picture,
    h("div", { class: "x" }, h("span", {}, `${name}, step 0`), h("span", {}, String(last)))));
}
