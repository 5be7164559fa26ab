// Swap: a character from pictures into a scene, in the place of the person there.

import { consent } from "./consent.js";
import { attempt, field, fill, h, refill } from "./dom.js";
import { estimate } from "./findings.js";
import { inputs, numberIn } from "./inputs.js";
import { CHOICES, LABELS } from "./labels.js";
import { given, keep } from "./links.js";
import { tellOther } from "./looked.js";
import { ended, get, newest, post, watch } from "./net.js";
import { middleFrame, pick } from "./pick.js";
import { results } from "./results.js";
import { waiting, whatWasFound } from "./swap_found.js";
import { timeline } from "./timeline.js";
import { addButton, onlyVideos, pictureCards } from "./uploads.js";
import { head } from "./work.js";

const KEPT = ["pictures", "scene", "start", "frames", "person", "character_person", "fit", "seed", "steps", "guidance", "base", "class_word", "appearance", "place"];
const LONGEST = 9000; // frames of a scene
const FASTEST = 30; // frames a second of a result

export async function show(main, rest, closing) {
  const [about, clips] = await Promise.all([get("/api/about"), get("/api/clips")]);
  const start = given(rest, "swap", "check-swap");
  const bases = about.bases_for.swap;
  const fields = makeFields(bases, start);
  const found = h("section", { class: "card", "aria-label": "What was found" });
  const cards = pictureCards(clips, start.pictures, () => changed());
  const scene = sceneCards(clips, start, () => changed());
  const read = () => ({ pictures: [...cards.chosen], scene: scene.chosen(), ...scene.part(), person: numberIn(fields.person), character_person: numberIn(fields.character) });
  const look = h("button", { class: "main" }, "Look at it");
  const choice = h("form", { class: "card", "aria-label": "Character and scene", onsubmit: (event) => {
    event.preventDefault();
    attempt(() => post("/api/jobs", { job: "check-swap", ...read(), base: fields.base.value }));
  } }, head("1", "Character and scene"),
  h("div", { class: "tools" }, h("div", { class: "row" }, h("h3", {}, "The character"), h("span", { class: "push" }, cards.add)), cards.box),
  h("div", { class: "tools" }, h("div", { class: "row" }, h("h3", {}, LABELS.swap.scene), h("span", { class: "push" }, scene.add)), scene.box, scene.line),
  h("details", { open: Boolean(start.person || start.character_person) }, h("summary", {}, "Several people"), h("div", { class: "fields" },
    field(LABELS.swap.person, fields.person, "1 is the most prominent; the others stay."), field(LABELS.swap.character_person, fields.character, "Of several pictures, one may show several people: crop the others."))),
  h("div", { class: "row" }, look, h("span", { class: "note" }, "Finds both, says what is wrong with them and how they suit each other, and prepares the scene.")));

  const send = (form) => attempt(() => post("/api/jobs", { job: "swap", ...form }));
  const result = h("section", { class: "card", "aria-label": "Result" });
  const asked = consent(about.agreed ? null : about.question);
  const go = h("button", { class: "main" }, "Swap");
  const told = h("span", { class: "note", role: "status" });
  const making = h("form", { class: "card", "aria-label": "Swap", onsubmit: (event) => {
    event.preventDefault();
    send({ ...read(), ...options(fields), agreed: asked.agreed() });
  } }, head("3", "Swap"), bases.length ? [optionFields(fields, bases), asked.box, h("div", { class: "row" }, go, told)] : nothingReady());
  fill(main, h("div", {}, h("h1", {}, "Swap a person"), h("p", { class: "lead" }, "The character of a picture takes the place of the person in a scene, with that person's motion. Everything else of the scene stays.")),
    choice, found, h("div", { class: "columns" }, making, result));
  results(result, { kind: "swap", kept: KEPT, empty: "The video appears here, beside the scene.", beside: (view, form) => view.setScene?.(form.scene, form.start || 0) }, send, closing);

  // The newest look at these files is shown; what it says of the swap holds for the same persons, part and base
  const looked = (now) => newest("check-swap", (form) => String(form.pictures) === String(now.pictures) && form.scene === now.scene);
  const other = h("p", { class: "warn", role: "status", hidden: true });
  let shown = null;
  let report = null;
  function changed() {
    const now = read();
    const job = looked(now);
    const busy = Boolean(job && !ended(job));
    look.disabled = busy || !now.pictures.length || !now.scene;
    const key = job ? `${job.id} ${job.state}` : "";
    if (!job) refill(found, head("2", "What was found"), h("p", { class: "note" }, "Nothing was looked at yet. A swap does it by itself; look first to see what is wrong, and to correct it."));
    if (busy) refill(found, waiting(job));
    if (key !== shown) {
      shown = key;
      report = null;
      if (job && !busy) attempt(async () => {
        const [parts, said] = await whatWasFound(job, clips);
        if (shown !== key) return;
        refill(found, parts[0], other, parts.slice(1));
        report = said;
        tell(read());
      });
    }
    tell(now);
  }
  function tell(now) {
    const ready = now.pictures.length && now.scene;
    const job = looked(now);
    const differ = tellOther(other, job && ended(job) ? { ...now, base: fields.base.value } : {}, job?.about, "look at it again to see that. A swap takes what is chosen.");
    const judged = differ ? null : report;
    const guess = !fields.steps.value && judged?.prediction.swap;
    const unusable = judged?.verdict === "unusable";
    go.disabled = !ready || unusable;
    fill(told, !ready ? "Choose a picture and a scene first." : unusable ? "First correct what makes it unusable." : guess ? estimate(guess) : "Time and memory are estimated when it begins.");
  }
  for (const form of [choice, making]) form.addEventListener("change", () => changed());
  closing(watch(() => changed()));
  keep(main, "swap", () => ({ ...read(), ...options(fields) }));
}

/** What is needed where no base can swap. */
const nothingReady = () => h("div", { class: "tools" }, h("p", {}, "No base model on this machine can swap: the one that comes with the program is missing (`aa doctor` says more). One of these makes another, on the command line:"),
  h("ul", { class: "plain" }, h("li", {}, h("code", {}, "aa base-train mini-swap"), " trains a small one here, in many hours without a GPU;"),
    h("li", {}, h("code", {}, "aa base-train wan-vace-1.3b"), " or ", h("code", {}, "aa base-train anycharv"), " gets published weights (the former 17 GB to download), for a GPU of 8 GB or more.")),
  h("p", { class: "note" }, "Looking at a character and a scene, and correcting what was found, works without."));

function makeFields(bases, start) {
  const { number, text, choice, base } = inputs(start);
  const one = bases.find((each) => each.name === start.base) || bases[0];
  return {
    person: number("person", 1, 20, "the only one"), character: number("character_person", 1, 20, "the only one"),
    fit: choice("fit", CHOICES.swap.fit), seed: number("seed", 0, 2 ** 32 - 1, "0"), steps: number("steps", 1, 1000, one?.steps), guidance: number("guidance", 0, 100, one?.guidance_scale, 0.1),
    base: base(bases), word: text("class_word", "person"), appearance: text("appearance", "in a red coat"), place: text("place", "on a beach"),
  };
}

function optionFields(fields, bases) {
  const words = h("div", { class: "fields" }, field(LABELS.swap.class_word, fields.word, "One word."), field(LABELS.swap.appearance, fields.appearance), field(LABELS.swap.place, fields.place));
  const prompted = () => {
    const base = bases.find((one) => one.name === fields.base.value);
    words.hidden = !base.prompted;
    fields.steps.placeholder = base.steps ?? "";
    fields.guidance.placeholder = base.guidance_scale ?? "";
  };
  fields.base.addEventListener("change", prompted);
  prompted();
  return [h("div", { class: "fields" }, field(LABELS.swap.fit, fields.fit), field(LABELS.swap.seed, fields.seed, "The same seed gives the same video."), field(LABELS.swap.steps, fields.steps), field(LABELS.swap.guidance, fields.guidance, "Higher: closer to the character."), field(LABELS.swap.base, fields.base)), words];
}

const options = (fields) => ({ fit: fields.fit.value, seed: numberIn(fields.seed), steps: numberIn(fields.steps), guidance: numberIn(fields.guidance), base: fields.base.value,
  class_word: fields.word.value, appearance: fields.appearance.value, place: fields.place.value });

/** Cards of the clips to choose a scene from, and the part of it. */
function sceneCards(clips, start, changed) {
  const box = h("div", { class: "cards", role: "radiogroup", "aria-label": "Scenes" });
  const line = h("div", {});
  let clip = clips.find((one) => one.id === start.scene);
  let film = null;
  const rate = () => Math.min(clip.fps, FASTEST);
  function choose(one, part) {
    clip = one;
    film = clip?.kind === "video" ? timeline(clip, LONGEST / rate(), part, changed) : null;
    fill(line, film?.box);
  }
  function list() {
    fill(box, clips.filter((one) => one.kind === "video" || one === clip).map((one) => pick({ name: "scene", value: one.id, checked: one === clip, onchange: () => { choose(one, {}); changed(); } },
      middleFrame(one), one.name, `${one.seconds.toFixed(1)} s · ${one.width} × ${one.height}`, { title: one.name })));
  }
  choose(clip, { start: start.start || 0, seconds: start.frames ? start.frames / (clip ? rate() : 1) : undefined });
  list();
  const add = addButton("Add a scene", "video/*,image/gif,image/webp", onlyVideos, (facts) => { clips.unshift(facts); choose(facts, {}); list(); changed(); });
  const part = () => {
    if (!film) return { start: null, frames: null };
    const { start: from, seconds } = film.part();
    if (from < 0.05 && seconds > clip.seconds - 0.05) return { start: null, frames: null };
    return { start: from, frames: Math.max(Math.round(seconds * rate()), 1) };
  };
  return { box, line, add, part, chosen: () => clip?.id || "" };
}
