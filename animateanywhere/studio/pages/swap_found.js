// What a look at a character and a scene found, and its corrections.

import { attempt, field, fill, h } from "./dom.js";
import { editor } from "./editor.js";
import { badge, findingsByFile, named } from "./findings.js";
import { get } from "./net.js";
import { atWork, head, resume } from "./work.js";

export const waiting = (job) => [head("2", "What was found"), atWork(job)];

/** What an ended look found: its elements, and its report where it has one. */
export async function whatWasFound(job, clips) {
  const used = [...job.about.pictures, job.about.scene].map((id) => clips.find((one) => one.id === id)).filter(Boolean);
  if (job.state !== "done") return [[head("2", "What was found"), broken(job, used)], null];
  const { result: report } = await get(`/api/jobs/${job.id}`);
  const parts = report.files.scene ? await get(`/api/jobs/${job.id}/scene`).catch(gone) : [];
  return [[head("2", "What was found", badge(report.verdict)),
    h("div", { class: "columns" }, h("div", { class: "tools" }, findingsByFile(report, used)), h("div", { class: "tools" }, written(job, report))),
    parts.length ? await sceneEditor(parts) : null], report];
}

/** No parts, where the scene was deleted since. */
const gone = (error) => {
  if (error.status === 404) return [];
  throw error;
};

/** A look that failed or was stopped. */
export const broken = (job, used) => h("div", { class: "tools" }, h("p", { class: job.state === "failed" ? "bad" : "note" }, job.state === "failed" ? named(job.text, used) : "Stopped."),
  h("div", { class: "row" }, h("button", { type: "button", onclick: () => resume(job) }, "Try again")));

/** The pictures that a look wrote. */
export const written = (job, report) => Object.entries(WRITTEN).filter(([what]) => report.files[what]).map(([what, words]) =>
  h("figure", {}, h("img", { src: `/api/jobs/${job.id}/files/${encodeURIComponent(what)}?${job.ended}`, alt: words }), h("figcaption", { class: "note" }, words)));

const WRITTEN = {
  "persons of the clip": "The persons of the clip, with their numbers: give one above, under “Several people in the clip”, and look again",
  "cut-out": "The person cut out of the picture",
  "persons of the picture": "The persons of the picture, with their numbers: give one above, and look again",
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
