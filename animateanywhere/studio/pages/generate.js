// Generate: who, where, how to move; and the results as they come.

import { attempt, field, fill, h } from "./dom.js";
import { gallery } from "./gallery.js";
import { inputs, numberIn } from "./inputs.js";
import { CHOICES, LABELS } from "./labels.js";
import { given, keep } from "./links.js";
import { get, post } from "./net.js";
import { pick } from "./pick.js";
import { results } from "./results.js";

const KEPT = ["motion", "person", "prompt", "negative", "seed", "steps", "guidance", "frames", "aspect", "fit", "base"];

export async function show(main, rest, closing) {
  const [about, past, motions, clips] = await Promise.all([get("/api/about"), get("/api/history"), get("/api/motions"), get("/api/clips")]);
  const start = given(rest, "generate");
  const fields = makeFields(about, past.people, start);
  const moves = gallery("generate", () => read(form, fields), motions, clips, start.motion, closing);
  const result = h("section", { class: "card stays", "aria-label": "Result" });
  const send = (form) => attempt(() => post("/api/jobs", { job: "generate", ...form }));
  const form = h("form", { class: "tools", onsubmit: (event) => {
    event.preventDefault();
    send(read(form, fields));
  } },
  h("section", { class: "card" }, h("h2", {}, LABELS.generate.weights), people(past.people, start.person),
    field("Prompt", fields.prompt, "Who is to be seen and where. (word:1.3) counts more.")),
  h("section", { class: "card" }, h("header", {}, h("h2", {}, LABELS.generate.pose), h("span", { class: "push" }, moves.add)), moves.box),
  h("section", { class: "card" }, h("details", { open: Boolean(start.seed || start.steps) }, h("summary", {}, "Seed, steps, format"), h("div", { class: "fields" },
    field(LABELS.generate.seed, fields.seed, "The same seed gives the same video."), field(LABELS.generate.steps, fields.steps), field(LABELS.generate.guidance, fields.guidance, "Higher: closer to the prompt."),
    field(LABELS.generate.frames, fields.frames), field(LABELS.generate.aspect, fields.aspect), field(LABELS.generate.fit, fields.fit), field(LABELS.generate.negative, fields.negative, "Needs a guidance above 1."), field(LABELS.generate.base, fields.base, "Where no person is chosen."))),
  h("div", { class: "row" }, h("button", { class: "main" }, "Generate"), h("span", { class: "note" }, "Several wait for each other in a queue."))));
  fill(main, h("div", {}, h("h1", {}, "Generate a video"), h("p", { class: "lead" }, "The prompt says who and where, the motion how to move.")),
    h("div", { class: "columns" }, form, result));
  keep(main, "generate", () => read(form, fields));
  results(result, { kind: "generate", kept: KEPT, empty: "The video appears here, beside its motion.",
    beside: (view, form) => form.motion && view.setMotion?.(form.motion) }, send, closing);
}

/** A prompt to begin with, for a learned person. */
export const firstPrompt = (token, word) => `${token} ${word} on a beach`;

function makeFields(about, people, start) {
  const base = about.bases.find((one) => one.name === start.base) || about.bases[0];
  const first = people[0];
  const prompt = start.prompt ?? (first ? firstPrompt(first.token, first.class_word) : "a man in a red shirt on a beach");
  const { number, text, choice, base: baseField } = inputs(start);
  return {
    prompt: h("textarea", { required: true, value: prompt, rows: 2 }),
    seed: number("seed", 0, 2 ** 32 - 1, "0"), steps: number("steps", 1, 1000, base?.steps), guidance: number("guidance", 0, 100, base?.guidance_scale, 0.1),
    frames: number("frames", 1, 512, "as the motion"),
    aspect: choice("aspect", CHOICES.generate.aspect),
    fit: choice("fit", CHOICES.generate.fit),
    negative: text("negative"), base: baseField(about.bases),
  };
}

function read(form, fields) {
  const chosen = (name) => form.querySelector(`input[name="${name}"]:checked`)?.value || "";
  return {
    prompt: fields.prompt.value, negative: fields.negative.value, motion: chosen("motion"), person: chosen("person"),
    seed: numberIn(fields.seed), steps: numberIn(fields.steps), guidance: numberIn(fields.guidance), frames: numberIn(fields.frames),
    aspect: fields.aspect.value, fit: fields.fit.value, base: fields.base.value,
  };
}

// People and motions as cards

function people(list, chosen) {
  const known = chosen !== undefined ? chosen : list[0]?.id ?? "";
  return h("div", { class: "cards", role: "radiogroup", "aria-label": "People" },
    list.map((one) => pick({ name: "person", value: one.id, checked: one.id === known }, one.picture ? h("img", { src: `/api/files/${one.picture}`, alt: "" }) : "no picture", one.token,
      [one.class_word, one.appearance].filter(Boolean).join(" "))),
    pick({ name: "person", value: "", checked: known === "" }, h("span", { "aria-hidden": "true" }, "Abc"), "Somebody", "from the words alone"));
}
