// Motions to follow, as cards on which they move.

import { attempt, h, refill } from "./dom.js";
import { again } from "./links.js";
import { get, post, state, watch } from "./net.js";
import { middleFrame, pick } from "./pick.js";
import { playMotion } from "./skeleton.js";
import { addButton } from "./uploads.js";

/** Cards of all motions, and a button that adds one to the form of a tab. own: words for a card of no motion, where there is one. */
export function gallery(tab, form, motions, clips, chosen, closing, own = "") {
  const box = h("div", { class: "cards motions", role: "radiogroup", "aria-label": "Motions" });
  const wrong = (facts) => (facts.kind === "picture" ? "one picture does not move; give a video." : "");
  const add = addButton("Add a video or poses.json", "video/*,image/gif,.json", wrong, (facts) => { location.hash = again(tab, { ...form(), motion: facts.id }); });
  let playing = []; // what ends the motions on the cards
  const show = (some, id) => {
    playing.forEach((end) => end());
    playing = [];
    list(box, some, clips, id, own, playing);
  };
  show(motions, chosen);
  closing(() => playing.forEach((end) => end()));
  const before = new Set(state.jobs.filter(isFound).map((job) => job.id));
  closing(watch(({ jobs }) => {
    const fresh = jobs.find((job) => isFound(job) && !before.has(job.id));
    if (!fresh) return;
    before.add(fresh.id);
    attempt(async () => show(await get("/api/motions"), fresh.about.clip));
  }));
  return { box, add };
}

const isFound = (job) => job.kind === "motion" && job.state === "done";

function list(box, motions, clips, chosen, own, playing) {
  const first = own ? "" : (motions.find((one) => one.known) || motions[0])?.id;
  const known = motions.some((one) => one.id === chosen) ? chosen : first;
  refill(box, own ? pick({ name: "motion", value: "", checked: known === "" }, h("span", { "aria-hidden": "true" }, "Abc"), "Of its own", own) : null, motions.map((one) => {
    const canvas = h("canvas", { width: 160, height: 120 });
    const clip = clips.find((each) => each.id === one.id);
    const thumb = one.known ? canvas : clip?.strip ? middleFrame(clip) : "…";
    if (one.known) attempt(async () => {
      const motion = await get(`/api/motions/${one.id}`);
      if (canvas.isConnected) playing.push(playMotion(canvas, motion));
    });
    const find = one.known ? null : h("button", { type: "button", class: "plain", onclick: () => attempt(() => post("/api/jobs", { job: "motion", clip: one.id })) }, "Find its skeleton");
    const ours = one.kind === "bundled";
    return h("div", {}, pick({ name: "motion", value: one.id, checked: one.id === known, required: true }, thumb, one.name,
      `${one.seconds.toFixed(1)} s${ours ? "" : " · yours"}`, { title: one.name, class: ours && "ours" }), find);
  }));
}
