// Generate: who, where, how to move; and the results as they come.

import { attempt, field, fill, h } from "./dom.js";
import { ended, get, post, remove, state, upload, watch } from "./net.js";
import { downloads, player } from "./player.js";
import { playMotion } from "./skeleton.js";
import { middleFrame, pick } from "./pick.js";
import { progressWords, resume, share, stopButton } from "./work.js";

const KEPT = ["motion", "person", "prompt", "negative", "seed", "steps", "guidance", "frames", "aspect", "fit", "base"];

export async function show(main, [what, value], closing) {
  const [about, past, motions, clips] = await Promise.all([get("/api/about"), get("/api/history"), get("/api/motions"), get("/api/clips")]);
  const start = given(what, value);
  const fields = makeFields(about, past.people, start);
  const gallery = h("div", { class: "cards motions", role: "radiogroup", "aria-label": "Motions" });
  const result = h("section", { class: "card stays", "aria-label": "Result" });
  const send = (form) => attempt(() => post("/api/jobs", { job: "generate", ...form }));
  const form = h("form", { class: "tools", onsubmit: (event) => {
    event.preventDefault();
    send(read(form, fields));
  } },
  h("section", { class: "card" }, h("h2", {}, "Who"), people(past.people, start.person),
    field("Prompt", fields.prompt, "Who is to be seen and where. (word:1.3) counts more.")),
  h("section", { class: "card" }, h("header", {}, h("h2", {}, "Motion"), h("span", { class: "push" }, addMotion())), gallery),
  h("section", { class: "card" }, h("details", { open: Boolean(start.seed || start.steps) }, h("summary", {}, "Seed, steps, format"), h("div", { class: "fields" },
    field("Seed", fields.seed, "The same seed gives the same video."), field("Steps", fields.steps), field("Guidance", fields.guidance, "Higher: closer to the prompt."),
    field("Frames at most", fields.frames), field("Format", fields.aspect), field("Fit of the skeleton", fields.fit), field("Not to be seen", fields.negative, "Needs a guidance above 1."), field("Base model", fields.base, "Where no person is chosen."))),
  h("div", { class: "row" }, h("button", { class: "main" }, "Generate"), h("span", { class: "note" }, "Several wait for each other in a queue."))));
  fill(main, h("div", {}, h("h1", {}, "Generate a video"), h("p", { class: "lead" }, "The prompt says who and where, the motion how to move.")),
    h("div", { class: "columns" }, form, result));
  listMotions(gallery, motions, clips, start.motion, closing);
  results(result, send, closing);
}

/** What a link to this tab brings: a prompt, the form of a job, or settings of a result. */
function given(what, value) {
  try {
    if (what === "prompt") return { prompt: decodeURIComponent(value) };
    if (what === "again") return { ...JSON.parse(decodeURIComponent(value)) };
  } catch { /* a link that was cut off brings nothing */ }
  const last = state.jobs.filter((job) => job.kind === "generate").at(-1);
  return last ? last.about : {};
}

export const again = (form) => `#generate/again/${encodeURIComponent(JSON.stringify(form))}`;

/** A prompt to begin with, for a learned person. */
export const firstPrompt = (token, word) => `${token} ${word} on a beach`;

function makeFields(about, people, start) {
  const base = about.bases.find((one) => one.name === start.base) || about.bases[0];
  const first = people[0];
  const prompt = start.prompt ?? (first ? firstPrompt(first.token, first.class_word) : "a man in a red shirt on a beach");
  const number = (key, least, most, hint, step = 1) => h("input", { type: "number", min: least, max: most, step, value: start[key] ?? "", placeholder: hint ?? "" });
  const choice = (key, options) => {
    const select = h("select", {}, Object.entries(options).map(([name, words]) => h("option", { value: name }, words)));
    select.value = start[key] ?? Object.keys(options)[0];
    return select;
  };
  return {
    prompt: h("textarea", { required: true, value: prompt, rows: 2 }),
    seed: number("seed", 0, 2 ** 32 - 1, "0"), steps: number("steps", 1, 1000, base?.steps), guidance: number("guidance", 0, 100, base?.guidance_scale, 0.1),
    frames: number("frames", 1, 512, "as the motion"),
    aspect: choice("aspect", { "": "as the motion", "1:1": "square", "9:16": "portrait 9:16", "4:5": "portrait 4:5", "16:9": "landscape 16:9" }),
    fit: choice("fit", { bones: "height, place and bones", frame: "height and place", none: "as it is" }),
    negative: h("input", { value: start.negative ?? "", autocomplete: "off" }),
    base: choice("base", Object.fromEntries(about.bases.map((one) => [one.name, one.name]))),
  };
}

function read(form, fields) {
  const number = (input) => (input.value === "" ? null : Number(input.value));
  const chosen = (name) => form.querySelector(`input[name="${name}"]:checked`)?.value || "";
  return {
    prompt: fields.prompt.value, negative: fields.negative.value, motion: chosen("motion"), person: chosen("person"),
    seed: number(fields.seed), steps: number(fields.steps), guidance: number(fields.guidance), frames: number(fields.frames),
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

function listMotions(box, motions, clips, chosen, closing) {
  const known = motions.some((one) => one.id === chosen) ? chosen : (motions.find((one) => one.known) || motions[0])?.id;
  fill(box, motions.map((one) => {
    const canvas = h("canvas", { width: 160, height: 120 });
    const clip = clips.find((each) => each.id === one.id);
    const thumb = one.known ? canvas : clip?.strip ? middleFrame(clip) : "…";
    if (one.known) attempt(async () => closing(playMotion(canvas, await get(`/api/motions/${one.id}`))));
    const find = one.known ? null : h("button", { type: "button", class: "plain", onclick: () => attempt(() => post("/api/jobs", { job: "motion", clip: one.id })) }, "Find its skeleton");
    const ours = one.kind === "bundled";
    return h("div", {}, pick({ name: "motion", value: one.id, checked: one.id === known, required: true }, thumb, one.name,
      `${one.seconds.toFixed(1)} s${ours ? "" : " · yours"}`, { title: one.name, class: ours && "ours" }), find);
  }));
  const before = new Set(state.jobs.filter((job) => job.kind === "motion" && job.state === "done").map((job) => job.id));
  closing(watch(({ jobs }) => {
    const fresh = jobs.find((job) => job.kind === "motion" && job.state === "done" && !before.has(job.id));
    if (!fresh) return;
    before.add(fresh.id);
    attempt(async () => listMotions(box, await get("/api/motions"), clips, fresh.about.clip, closing));
  }));
}

function addMotion() {
  const input = h("input", { type: "file", accept: "video/*,image/gif,.json", hidden: true });
  const button = h("button", { type: "button", class: "plain", onclick: () => input.click() }, "Add a video or poses.json");
  input.onchange = () => attempt(async () => {
    const facts = await upload(input.files[0], input.files[0].name, (part) => fill(button, `${Math.round(part * 100)} %`));
    fill(button, "Add a video or poses.json");
    if (facts.kind === "picture") {
      await remove(`/api/clips/${facts.id}`);
      throw new Error(`${facts.name}: one picture does not move; give a video.`);
    }
    location.hash = again({ motion: facts.id });
  });
  return [button, input];
}

// Results

function results(card, send, closing) {
  let shown = null;
  closing(watch(({ jobs }) => {
    const mine = jobs.filter((job) => job.kind === "generate");
    const newest = mine.at(-1);
    const open = mine.filter((job) => !ended(job));
    const done = mine.filter((job) => job.state === "done");
    const key = mine.map((job) => job.id + job.state).join();
    if (key === shown) return open.forEach((job) => tick(card, job));
    shown = key;
    fill(card, h("h2", {}, "Result"), mine.length ? null : h("p", { class: "empty" }, "The video appears here, beside its motion."),
      open.map((job) => h("div", { class: "tools", "data-job": job.id }, h("b", {}, job.title), h("p", { class: "note", role: "status" }, progressWords(job)),
        h("progress", { max: 1, value: share(job), "aria-label": "Progress" }), h("div", { class: "row" }, stopButton(job)))),
      newest?.state === "failed" ? h("div", { class: "tools" }, h("p", { class: "bad" }, newest.text), h("div", { class: "row" }, h("button", { onclick: () => resume(newest) }, "Try again"))) : null);
    if (done.length) attempt(() => latest(card, done, send));
    return undefined;
  }));
}

function tick(card, job) {
  const box = card.querySelector(`[data-job="${job.id}"]`);
  if (!box) return;
  fill(box.querySelector("p"), progressWords(job));
  box.querySelector("progress").value = share(job);
}

/** The newest result with all that can be done with it. */
async function latest(card, done, send) {
  const past = await get("/api/history");
  const found = [];
  for (const job of done.slice(-8).reverse()) {
    const whole = await get(`/api/jobs/${job.id}`);
    const item = past.items.find((one) => one.path === whole.result);
    if (item) found.push([job, item]);
  }
  const box = h("div", { class: "tools" });
  card.append(box);
  const open = (job, item, other) => {
    const view = player(item, other);
    const select = h("select", { onchange: () => open(job, item, found.find(([, one]) => one.id === select.value)?.[1]) },
      h("option", { value: "" }, "nothing"), found.filter(([, one]) => one.id !== item.id).map(([, one]) => h("option", { value: one.id }, `seed ${one.settings.seed}: ${one.settings.prompt}`)));
    select.value = other?.id || "";
    const form = Object.fromEntries(KEPT.map((key) => [key, job.about[key]]));
    fill(box, view, h("p", {}, h("b", {}, item.settings.prompt), h("span", { class: "note" }, `  seed ${item.settings.seed}, ${item.settings.steps} steps`)),
      h("div", { class: "row" },
        h("button", { onclick: () => send({ ...form, seed: (item.settings.seed + 1) % 2 ** 32 }) }, "Vary"),
        h("button", { onclick: () => { location.hash = again({ ...form, seed: item.settings.seed }); } }, "Change and repeat"),
        found.length > 1 ? h("label", { class: "check push" }, "Compare with", select) : null),
      downloads(item),
      found.length > 1 ? h("div", { class: "frames", role: "group", "aria-label": "Newest results" }, found.map(([each, one], i) =>
        h("button", { "aria-pressed": String(one.id === item.id), "aria-label": `Result ${i + 1}: seed ${one.settings.seed}, ${one.settings.prompt}`, onclick: () => open(each, one) }, String(found.length - i)))) : null);
    if (!other && job.about.motion) view.setMotion?.(job.about.motion);
  };
  if (found.length) open(...found[0]);
}
