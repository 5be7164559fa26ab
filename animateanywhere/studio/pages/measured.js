// What was measured in a run: curves of its stages, and the tables of `aa evaluate` with their intervals.

import { drawn, intervals } from "./curve.js";
import { attempt, field, fill, h } from "./dom.js";
import { get } from "./net.js";

/** All that was measured in a run, as it comes. */
export function measured(id) {
  const box = h("div", { class: "tools", "aria-busy": "true" });
  attempt(async () => {
    const found = await get(`/api/runs/${id}/measured`);
    fill(box, found.problems.map((text) => h("p", { class: "note bad" }, text)), found.stages.map(stage), found.reports.map(report));
  }).finally(() => box.removeAttribute("aria-busy"));
  return box;
}

const stage = (one) => h("section", { class: "tools", "aria-label": `Stage ${one.name}` },
  h("div", {}, h("h3", {}, `Stage ${one.name}`), h("p", { class: "note" }, [one.state, one.settings].filter(Boolean).join(" · "))),
  one.results.length ? h("dl", { class: "facts" }, one.results.map(([name, text]) => [h("dt", {}, name), h("dd", {}, text)])) : null,
  one.main.map(drawn),
  one.scores.length ? h("p", { class: "note" }, "Scores of validation, lower is better; dashed: the step that was selected") : null,
  one.scores.length ? h("div", { class: "fields" }, one.scores.map(drawn)) : null,
  one.curves.length ? h("details", {}, h("summary", {}, "Learning rate, throughput and more"), h("div", { class: "fields" }, one.curves.map(drawn))) : null);

function report(one) {
  const missing = Object.entries(one.missing);
  return h("section", { class: "tools", "aria-label": `Evaluation ${one.name}`.trim() },
    one.name ? h("h3", {}, one.name) : null,
    one.tables.map((each) => [table(each), columns(each)]),
    one.notes.length ? h("ul", { class: "note" }, one.notes.map((text) => h("li", {}, text))) : null,
    missing.length ? h("details", {}, h("summary", {}, "What was not measured"), h("ul", { class: "note" }, missing.map(([name, why]) => h("li", {}, `${name}: ${why}`)))) : null,
    one.sheet ? h("img", { class: "sheet", src: `/api/files/${one.sheet}`, alt: "Frames of what was measured", loading: "lazy" }) : null);
}

/** A table that scrolls by itself, also by the arrow keys. */
const table = (one) => h("div", { class: "wide", tabindex: 0, role: "region", "aria-label": one.title || `Table of ${one.head.slice(1, 4).join(", ")}` },
  h("table", { class: "values" }, one.title ? h("caption", {}, one.title) : null,
    h("thead", {}, h("tr", {}, one.head.map((words) => h("th", { scope: "col" }, words)))),
    h("tbody", {}, one.rows.map(([name, ...cells]) => h("tr", {}, h("th", { scope: "row" }, name), cells.map((cell) => h("td", {}, cell)))))));

/** The plot of one column of a table, which a list chooses; nothing where there are no intervals in it. */
function columns(one) {
  const worth = (i) => one.intervals.filter((row) => row[i]).length > 1 && one.intervals.some((row) => row[i] && row[i][1] < row[i][2]);
  const some = one.head.map((_, i) => i).filter((i) => i && worth(i));
  if (!some.length) return null;
  const plot = h("div");
  const choice = h("select", { onchange: () => show() }, some.map((i) => h("option", { value: i }, one.head[i])));
  const show = () => fill(plot, intervals(one.rows.map((row, j) => [row[0], row[choice.value], one.intervals[j][choice.value]])));
  show();
  return h("details", {}, h("summary", {}, "Plot with intervals"), field("Column", choice), plot);
}
