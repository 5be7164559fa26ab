// Plots: values over steps, as lines; and means with their intervals, one below the other.

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
    `${(step / last).toFixed(4)},${(high > low ? (high - value) / (high - low) : 0.5).toFixed(4)}`).join(" ");
  return fill(box, plot({ raw: line(points), smooth: line(mean), low: number(low), high: number(high), begin: `${name}, step 0`, end: String(last),
    label: `${name}: ${number(mean[0][1])} at the beginning, ${number(mean.at(-1)[1])} at step ${mean.at(-1)[0]}` }));
}

/** A curve of a run as the server has drawn it (`commands.run_curves.Curve`), with its name. */
export const drawn = (one) => h("figure", { class: "drawn" },
  h("figcaption", {}, h("b", {}, one.name), ` ${one.value}${one.logarithmic ? ", logarithmic scale" : ""}`),
  plot({ ...one, begin: `step ${one.first}`, end: one.last, label: `${one.name} from step ${one.first} to ${one.last}: ${one.low} to ${one.high}, ${one.value} at the end` }));

/** raw, smooth: points of SVG from 0 to 1; marked: a place to point out. */
function plot({ raw, smooth, low, high, begin, end, label, marked = null }) {
  const axis = (y) => s("line", { class: "axis", x1: 0, x2: 1, y1: y, y2: y });
  return h("div", { class: "plot" },
    h("div", { class: "y" }, h("span", {}, high), h("span", {}, low)),
    s("svg", { class: "curve", viewBox: "0 0 1 1", preserveAspectRatio: "none", role: "img", "aria-label": label }, axis(1), axis(0),
      ...(marked === null ? [] : [s("line", { class: "marked", x1: marked, x2: marked, y1: 0, y2: 1 })]),
      s("polyline", { class: "raw", points: raw }), s("polyline", { class: "line", points: smooth })),
    h("div", { class: "x" }, h("span", {}, begin), h("span", {}, end)));
}

/** Rows of [name, text, [mean, low, high]] on one scale: a dot at the mean, a line over its interval. */
export function intervals(rows) {
  const known = rows.filter(([, , found]) => found);
  const [low, high] = [Math.min(...known.map(([, , found]) => found[1])), Math.max(...known.map(([, , found]) => found[2]))];
  const x = (value) => (high > low ? 2 + ((value - low) / (high - low)) * 96 : 50);
  return h("div", { class: "intervals" }, known.map(([name, text, [mean, least, most]]) => [
    h("span", {}, name),
    s("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", role: "img", "aria-label": `${name}: ${text}` },
      s("line", { class: "axis", x1: 0, x2: 100, y1: 5, y2: 5 }), s("line", { class: "range", x1: x(least), x2: x(most), y1: 5, y2: 5 }),
      s("line", { class: "mean", x1: x(mean), x2: x(mean), y1: 1, y2: 9 }))]),
  h("span"), h("div", { class: "x" }, h("span", {}, number(low)), h("span", {}, number(high))));
}
