// Cast: a video of the person of a picture, by words; nothing is learned.

import { consent } from "./consent.js";
import { attempt, field, fill, h, refill } from "./dom.js";
import { badge, findingsByFile } from "./findings.js";
import { gallery } from "./gallery.js";
import { inputs, numberIn } from "./inputs.js";
import { LABELS } from "./labels.js";
import { given, keep } from "./links.js";
import { tellOther } from "./looked.js";
import { ended, get, newest, post, watch } from "./net.js";
import { results } from "./results.js";
import { broken, written } from "./swap_found.js";
import { pictureCards } from "./uploads.js";
import { atWork } from "./work.js";

const KEPT = ["pictures", "prompt", "motion", "person", "whole", "appearance", "frames", "seed", "steps", "guidance", "likeness", "base"];

export async function show(main, rest, closing) {
  const [about, motions, clips] = await Promise.all([get("/api/about"), get("/api/motions"), get("/api/clips")]);
  const start = given(rest, "cast", "check-cast");
  const bases = about.bases_for.cast;
  const fields = makeFields(bases, start);
  const cards = pictureCards(clips, start.pictures, () => changed(), true);
  const read = () => ({
    pictures: [...cards.chosen], prompt: fields.prompt.value, motion: form.querySelector('input[name="motion"]:checked')?.value || "",
    person: numberIn(fields.person), whole: fields.whole.checked, appearance: fields.appearance.value, frames: numberIn(fields.frames),
    seed: numberIn(fields.seed), steps: numberIn(fields.steps), guidance: numberIn(fields.guidance), likeness: numberIn(fields.likeness), base: fields.base.value,
  });
  const moves = gallery("cast", read, motions, clips, start.motion, closing, "as the words say");
  const send = (order) => attempt(() => post("/api/jobs", { job: "cast", ...order }));
  const asked = consent(about.agreed ? null : about.question);
  const go = h("button", { class: "main" }, "Make the video");
  const look = h("button", { type: "button", onclick: () => attempt(() => post("/api/jobs", { job: "check-cast", pictures: [...cards.chosen], person: numberIn(fields.person) })) }, "Look at it");
  const found = h("div", { class: "tools", "aria-label": "What was found", role: "group" });
  const result = h("section", { class: "card stays", "aria-label": "Result" });
  const form = h("form", { class: "tools", onsubmit: (event) => {
    event.preventDefault();
    send({ ...read(), agreed: asked.agreed() });
  } },
  h("section", { class: "card" }, h("header", {}, h("h2", {}, "Who"), h("span", { class: "push" }, cards.add)), cards.box,
    h("details", { open: Boolean(start.person || start.whole) }, h("summary", {}, "Several people, or nobody"), h("div", { class: "fields" },
      field(LABELS.cast.person, fields.person, "1 is the most prominent. Of several pictures, one may show several people: crop the others."), h("label", { class: "check" }, fields.whole, h("span", {}, LABELS.cast.whole, ": nobody is looked for or cut out")))),
    h("div", { class: "row" }, look, h("span", { class: "note" }, "What the picture shows, and what would be made up.")), found),
  bases.length ? [
    h("section", { class: "card" }, h("h2", {}, "What happens"), field("Prompt", fields.prompt, "What the person does, and where. The picture says who it is."), field(LABELS.cast.appearance, fields.appearance, "Only where the picture does not say it.")),
    h("section", { class: "card" }, h("header", {}, h("h2", {}, LABELS.cast.pose), h("span", { class: "push" }, moves.add)), moves.box),
    h("section", { class: "card" }, h("details", { open: Boolean(start.seed || start.steps) }, h("summary", {}, "Seed, steps, length"), h("div", { class: "fields" },
      field(LABELS.cast.seed, fields.seed, "The same seed gives the same video."), field(LABELS.cast.steps, fields.steps), field(LABELS.cast.guidance, fields.guidance, "Higher: closer to the prompt."), field(LABELS.cast.likeness, fields.likeness, "Higher: closer to the picture."), field(LABELS.cast.frames, fields.frames), field(LABELS.cast.base, fields.base))),
    asked.box, h("div", { class: "row" }, go, h("span", { class: "note" }, "Time and memory are estimated when it begins."))),
  ] : h("section", { class: "card" }, nothingReady()));
  fill(main, h("div", {}, h("h1", {}, "Cast a person"), h("p", { class: "lead" }, "A video of the person of a picture. Nothing is learned: a picture, or a clip, is enough.")), h("div", { class: "columns" }, form, result));
  results(result, { kind: "cast", kept: KEPT, empty: "The video appears here.", beside: (view, order) => order.motion && view.setMotion?.(order.motion) }, send, closing);

  let shown = null;
  const other = h("p", { class: "warn", role: "status", hidden: true });
  function changed() {
    const job = newest("check-cast", (order) => String(order.pictures) === String(cards.chosen));
    const busy = Boolean(job && !ended(job));
    look.disabled = busy || !cards.chosen.length;
    go.disabled = !cards.chosen.length;
    asked.ask(cards.chosen.some((id) => !clips.find((one) => one.id === id)?.bundled));
    tellOther(other, job && !busy ? { person: numberIn(fields.person) } : {}, job?.about, "look at it again to see that. The video is made of what is chosen.");
    const key = job ? `${job.id} ${job.state}` : "";
    if (busy) refill(found, atWork(job));
    if (key === shown) return;
    shown = key;
    if (!job) refill(found);
    else if (!busy) attempt(async () => {
      const parts = await whatWasFound(job, clips);
      if (shown === key) refill(found, other, parts);
    });
  }
  fields.person.addEventListener("change", () => changed());
  closing(watch(() => changed()));
  keep(main, "cast", read);
}

/** What is needed where no base can do it. */
const nothingReady = () => h("div", { class: "tools" }, h("p", {}, "No base model on this machine can do this: the one that comes with the program is missing (`aa doctor` says more). One of these makes another, on the command line:"),
  h("ul", { class: "plain" }, h("li", {}, h("code", {}, "aa base-train mini-cast"), " trains a small one here, in many hours without a GPU;"),
    h("li", {}, h("code", {}, "aa base-train wan-vace-1.3b"), " gets published weights, 17 GB to download, for a GPU of 8 GB or more.")), h("p", { class: "note" }, "Looking at a picture works without."));

function makeFields(bases, start) {
  const { number, text, base } = inputs(start);
  const one = bases.find((each) => each.name === start.base) || bases[0];
  return {
    prompt: h("textarea", { required: true, value: start.prompt ?? "the person walks on a beach", rows: 2 }), appearance: text("appearance", "in a red coat"),
    person: number("person", 1, 20, "the only one"), whole: h("input", { type: "checkbox", checked: Boolean(start.whole) }),
    seed: number("seed", 0, 2 ** 32 - 1, "0"), steps: number("steps", 1, 1000, one?.steps), guidance: number("guidance", 0, 100, one?.guidance_scale, 0.1), likeness: number("likeness", 0, 100, "as the base", 0.1), frames: number("frames", 1, 512, one ? `as the motion, or ${one.frames}` : ""), base: base(bases),
  };
}

async function whatWasFound(job, clips) {
  const used = job.about.pictures.map((id) => clips.find((one) => one.id === id)).filter(Boolean);
  if (job.state !== "done") return broken(job);
  const { result: report } = await get(`/api/jobs/${job.id}`);
  return [h("div", { class: "row" }, h("h3", {}, "What was found"), badge(report.verdict)), findingsByFile(report, used, job), written(job, report, used)];
}
