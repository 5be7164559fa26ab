// What a look at a character and a scene found, and its corrections.

import { attempt, field, fill, h } from "./dom.js";
import { editor } from "./editor.js";
import { badge, findingsByFile } from "./findings.js";
import { get, state } from "./net.js";
import { failure } from "./readable.js";
import { atWork, head, resume } from "./work.js";

export const waiting = (job) => [head("2", "What was found"), atWork(job)];

/** What an ended look found: its elements, and its report where it has one. */
export async function whatWasFound(job, clips) {
  const used = [...job.about.pictures, job.about.scene].map((id) => clips.find((one) => one.id === id)).filter(Boolean);
  if (job.state !== "done") {
    const before = state.jobs.findLast((one) => one.kind === job.kind && one.state === "done" && one.about.scene === job.about.scene);
    const old = before ? await get(`/api/jobs/${before.id}/scene`).catch(gone) : [];
    return [[head("2", "What was found"), broken(job), old.length ? [h("p", { class: "note" }, "Below is what was found in this scene before, with its corrections."), await sceneEditor(old)] : null], null];
  }
  const { result: report } = await get(`/api/jobs/${job.id}`);
  const parts = report.files.scene ? await get(`/api/jobs/${job.id}/scene`).catch(gone) : [];
  return [[head("2", "What was found", badge(report.verdict)),
    h("div", { class: "columns" }, h("div", { class: "tools" }, findingsByFile(report, used, job)), h("div", { class: "tools" }, written(job, report, used))),
    parts.length ? await sceneEditor(parts) : null], report];
}

/** No parts, where the scene was deleted since. */
const gone = (error) => {
  if (error.status === 404) return [];
  throw error;
};

/** A look that failed or was stopped. */
export const broken = (job) => h("div", { class: "tools" }, job.state === "failed" ? failure(job) : h("p", { class: "note" }, "Stopped."),
  h("div", { class: "row" }, h("button", { type: "button", onclick: () => resume(job) }, "Try again")));

/** The pictures that a look wrote; used: the uploads that it looked at. */
export const written = (job, report, used) => Object.keys(report.files).map((what) => [what, wordsOf(what, used)]).filter(([, words]) => words).map(([what, words]) =>
  h("figure", {}, h("img", { src: `/api/jobs/${job.id}/files/${encodeURIComponent(what)}?${job.ended}`, alt: words }), h("figcaption", { class: "note" }, words)));

/** What a picture shows; "" for what is none. */
function wordsOf(what, used) {
  const [, number] = /^persons of (?:the )?picture ?(\d*)$/.exec(what) || [];
  if (number === undefined) return WRITTEN[what] || "";
  return `The persons of ${used[(number || 1) - 1]?.name || "the picture"}, with their numbers: give one above, and look again`;
}

const WRITTEN = {
  "persons of the clip": "The persons of the clip, with their numbers: give one above, under “Several people in the clip”, and look again",
  "cut-out": "The person cut out of the picture",
  "persons of the scene": "The persons of the scene, with their numbers: give one above, and look again for another",
};

/** The frames of the scene with the person, part by part. */
async function sceneEditor(parts) {
  const box = h("div", {});
  const open = async (part) => fill(box, editor(part.id, await get(`/api/subjects/${part.id}`), { first: part.first, captions: false }));
  await open(parts[0]);
  if (parts.length === 1) return box;
  const choose = h("select", { onchange: () => attempt(() => open(parts[choose.selectedIndex])) }, parts.map((part) => h("option", {}, `from frame ${part.first}`)));
  return h("div", { class: "tools" }, h("div", { class: "fields" }, field("Part of the scene", choose)), box);
}
