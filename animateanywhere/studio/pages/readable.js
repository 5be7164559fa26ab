// Lines of the commands in the words of the page: fields in place of options, and no files of the server.

import { h } from "./dom.js";
import { CHOICES, LABELS } from "./labels.js";
import { state } from "./net.js";

/** A line of a job: options by the names of their fields, uploads by theirs, other files of runs from the name of the run on. */
export function readable(text, job) {
  const kind = job.kind.replace("check-", "");
  const label = (option) => LABELS[kind]?.[option.replaceAll("-", "_")];
  return text.replaceAll(`${state.runs}/`, "").split(" ").map((word) => file(word, job)).join(" ")
    .replace(/--([a-z-]+) ([\w:]+)/g, (all, option, choice) => (CHOICES[kind]?.[option]?.[choice] ? `“${label(option)}: ${CHOICES[kind][option][choice]}”` : all))
    .replace(/--([a-z-]+)( N\b)?/g, (all, option) => (label(option) ? `“${label(option)}”` : all));
}

/** A word that may be the name of a file. */
function file(word, { kind, names }) {
  const [, path, end] = /^(.*?)([.,:;)]*)$/.exec(word);
  if (/people(-\d)?\.png$/.test(path)) return (kind.startsWith("check") ? "the picture below" : "a picture that “Look at it” shows") + end;
  const parts = path.split("/");
  const at = parts.findLastIndex((part) => Object.keys(names).some((id) => part.includes(id)));
  if (at >= 0) {
    const inside = parts.slice(at + 1).join("/");
    return names[Object.keys(names).find((id) => parts[at].includes(id))] + (inside && ` (${inside})`) + end;
  }
  return (path.startsWith("/") ? parts.at(-1) : path) + end;
}

/** Why a job failed, in the words of the page; what the command said is below where it differs. */
export function failure(job) {
  const words = readable(job.text, job);
  return h("div", { class: "failure" }, h("p", { class: "bad" }, words),
    words === job.text ? null : h("details", {}, h("summary", {}, "As the command said it"), h("p", { class: "note" }, h("code", {}, job.text))));
}
