// What a look found, in words, by file.

import { clock, h } from "./dom.js";

const MARKS = { note: "·", warning: "!", unusable: "✕" };
const TONES = { note: "", warning: "warn", unusable: "bad", ready: "good", "usable with warnings": "warn" };

const item = (one) => h("li", {}, h("span", { class: `mark ${TONES[one.level]}`, "aria-label": one.level }, MARKS[one.level]), h("span", {}, one.text));

/** A verdict in its color. */
export const badge = (verdict) => h("span", { class: `badge ${TONES[verdict]}` }, verdict);

/** A list of findings. */
export const findingsList = (findings) => (findings.length ? h("ul", { class: "plain findings" }, findings.map(item)) : h("p", { class: "note" }, "Nothing to complain about."));

/** The findings of a report for each of these uploads, under its name. */
export function findingsByFile(report, uploads) {
  return uploads.map((one) => h("div", { class: "tools" }, h("h3", {}, one.name),
    findingsList(report.findings.filter((each) => each.file === one.file).map((each) => ({ ...each, text: named(each.text, uploads) })))));
}

/** A line of a command with uploads by their names, other files without their folders, and numbered persons as shown. */
export function named(text, uploads) {
  const known = (word) => uploads.find((one) => word.includes(one.file));
  return text.replace(/\S*people\.png/g, "the picture below").split(" ").map((word) => {
    const one = known(word);
    return one ? one.name + word.split(one.file).at(-1) : word.startsWith("/") ? word.split("/").at(-1) : word;
  }).join(" ");
}

/** Time and memory as estimated before the start. */
export function estimate(guess) {
  const [least, most] = [clock(guess.seconds_at_least), clock(guess.seconds)];
  const time = guess.seconds_at_least < 0.87 * guess.seconds && least !== most ? `${least} to ${most}` : most;
  return `Takes about ${time} and ${guess.memory_gb.toFixed(1)} GB of memory on this machine.`;
}
