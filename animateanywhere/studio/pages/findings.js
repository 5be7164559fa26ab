// What a look found, in words, by file.

import { clock, h } from "./dom.js";
import { readable } from "./readable.js";

const MARKS = { note: "·", warning: "!", unusable: "✕" };
const TONES = { note: "", warning: "warn", unusable: "bad", ready: "good", "usable with warnings": "warn" };

const item = (one, job) => h("li", {}, h("span", { class: `mark ${TONES[one.level]}`, "aria-label": one.level }, MARKS[one.level]), h("span", {}, readable(one.text, job)));

/** A verdict in its color. */
export const badge = (verdict) => h("span", { class: `badge ${TONES[verdict]}` }, verdict);

/** A list of findings of a look. */
export const findingsList = (findings, job) => (findings.length ? h("ul", { class: "plain findings" }, findings.map((one) => item(one, job))) : h("p", { class: "note" }, "Nothing to complain about."));

/** The findings of a look's report for each of these uploads, under its name. */
export function findingsByFile(report, uploads, job) {
  return uploads.map((one) => h("div", { class: "tools" }, h("h3", {}, one.name),
    findingsList(report.findings.filter((each) => each.file === one.file), job)));
}

/** Time and memory as estimated before the start. */
export function estimate(guess) {
  const [least, most] = [clock(guess.seconds_at_least), clock(guess.seconds)];
  const time = guess.seconds_at_least < 0.87 * guess.seconds && least !== most ? `${least} to ${most}` : most;
  return `Takes about ${time} and ${guess.memory_gb.toFixed(1)} GB of memory on this machine.`;
}
