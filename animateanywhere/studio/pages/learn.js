// Learn: a clip, which part of it, what was found in it, and corrections.

import { attempt, field, fill, h, refill, size, toast } from "./dom.js";
import { editor } from "./editor.js";
import { badge, findingsList } from "./findings.js";
import { LABELS } from "./labels.js";
import { before, keep } from "./links.js";
import { learnCard } from "./training.js";
import { tellOther } from "./looked.js";
import { ended, get, newest, post, remove, watch } from "./net.js";
import { inputs, numberIn } from "./inputs.js";
import { door, middleFrame } from "./pick.js";
import { written } from "./swap_found.js";
import { failure } from "./readable.js";
import { timeline } from "./timeline.js";
import { onlyVideos, take } from "./uploads.js";
import { atWork, head, resume } from "./work.js";

export async function show(main, [chosen, run], closing) {
  if (chosen === "again") return learnAgain(main, run, closing);
  const [about, clips] = await Promise.all([get("/api/about"), get("/api/clips")]);
  if (!main.isConnected) return undefined;
  if (chosen && !clips.some((one) => one.id === chosen)) {
    toast("This clip is not there any more.");
    location.hash = "#learn";
    return undefined;
  }
  const found = h("section", { class: "card", "aria-label": "What was found", hidden: true });
  const learning = h("section", { class: "card", "aria-label": "Learning", hidden: true });
  const clip = clips.find((one) => one.id === chosen);
  let compare = () => {}; // whether what was found is of what the form says
  const part = clip && partForm(about, clip, () => compare());
  fill(main,
    h("div", {}, h("h1", {}, "Learn a person"),
      h("p", { class: "lead" }, "A few seconds of one person in full view are enough. Everything stays on this machine.")),
    clipCard(about, clips, chosen, part?.box), found, learning);
  if (!chosen) return undefined;
  const drafts = before()?.drafts || {}; // captions that were typed and not saved, by what was looked at
  const learn = learnCard(learning, chosen, closing, before()?.learning);
  keep(main, "learn", () => ({ ...part.asked(), learning: learn.asked(), drafts }));
  let shown = null;
  closing(watch(() => {
    const check = newest("check", (form) => form.clip === chosen);
    const state = check ? `${check.id} ${check.state}` : "none"; // it may have been forgotten, or made by aa prepare
    if (state === shown && !(check && !ended(check))) return;
    shown = state;
    if (check && !ended(check)) {
      waiting(found, check);
      compare = () => {};
      learn.tell("It is looked at anew: wait for that.");
    } else {
      attempt(async () => {
        // What aa prepare made is of no base, and of what is chosen, as far as is known
        const now = () => (check ? part.asked() : { ...part.asked(), base: "" });
        const looked = check ? check.about : now();
        const other = await showFound(found, learning, learn, check, clip, drafts, () => shown === state);
        if (!other) return;
        compare = () => {};
        if (check && check.state !== "done") return learn.tell("The last look did not end: try it again first.");
        compare = () => {
          const differ = tellOther(other, now(), looked, `look at it again to learn that. ${check ? `It is of ${part.span(looked)}.` : ""}`);
          learn.tell(differ ? "Something else was chosen above since: look at it first." : "");
        };
        return compare();
      });
    }
  }));
  return undefined;
}

/** A person of a run, as prepared then, to be learned with other options or after corrections. */
async function learnAgain(main, run, closing) {
  const { items } = await get("/api/history");
  const item = items.find((one) => one.id === run);
  if (!item?.person?.again) {
    toast("This person is not there any more.");
    location.hash = "#learn";
    return;
  }
  const [subject, { agreed, question }] = await Promise.all([get(`/api/subjects/${run}`), get("/api/about")]);
  const found = h("section", { class: "card", "aria-label": "What was found" });
  const learning = h("section", { class: "card", "aria-label": "Learning" });
  fill(main, h("div", {}, h("h1", {}, `Learn ${item.person.token} again`),
    h("p", { class: "lead" }, `From what was prepared for ${item.name}. With the same word, the run of today is kept in its folder “earlier”; with another word, it stays as it is.`)), found, learning);
  const drafts = before()?.drafts || {};
  fill(found, head("1", "What was found", badge(subject.verdict)), editor(run, subject, { view: { drafts } }));
  const learn = learnCard(learning, run, closing, before()?.learning, { number: "2", ...item.person });
  learn.show(subject, agreed ? null : question, null, () => item.person.base);
  keep(main, "learn", () => ({ learning: learn.asked(), drafts }));
}

// The first step: which clip, which part of it, and who is in it

function clipCard(about, clips, chosen, part) {
  const card = h("section", { class: "card", "aria-label": "The clip" });
  const clip = clips.find((one) => one.id === chosen);
  const input = h("input", { type: "file", accept: "video/*,image/gif,image/webp", id: "file", hidden: true });
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Upload", hidden: true });
  const send = (file) => attempt(async () => {
    bar.hidden = false;
    try {
      const facts = await take(file, onlyVideos, (part) => { bar.value = part; });
      if (card.isConnected) location.hash = `#learn/${facts.id}`;
      else toast(`${facts.name} is among the clips of Learn.`); // another tab was opened meanwhile
    } finally {
      bar.hidden = true;
      input.value = "";
    }
  });
  input.onchange = () => input.files[0] && send(input.files[0]);
  const drop = h("div", { class: "drop" },
    h("p", {}, h("b", {}, "Drop a video here"), h("br"), h("span", { class: "note" }, `MP4, MOV, WebM, AVI, GIF; up to ${size(about.largest)}. The person in full view, at least one second.`)),
    h("div", { class: "row" }, h("button", { type: "button", class: "main", onclick: () => input.click() }, "Choose a file"), recordButton(send)), input, bar);
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, () => drop.classList.add("over"));
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => event.dataTransfer.files[0] && send(event.dataTransfer.files[0]));
  const videos = clips.filter((one) => one.kind === "video");
  const cards = h("div", { class: "cards", role: "group", "aria-label": "Clips" }, videos.map((one) =>
    door(`#learn/${one.id}`, middleFrame(one), one.name, `${one.seconds.toFixed(1)} s · ${one.width} × ${one.height}`, { title: one.name })));
  fill(card, h("header", {}, h("span", { class: "number", "aria-hidden": "true" }, "1"), h("h2", {}, "The clip")), clip ? null : drop,
    videos.length && !clip ? cards : null);
  if (clip) {
    const again = h("button", { type: "button", class: "plain", onclick: () => { location.hash = "#learn"; } }, "Another clip");
    card.querySelector("header").append(h("span", { class: "note" }, clip.name), h("span", { class: "row push" },
      clip.bundled ? null : h("button", { type: "button", class: "plain", onclick: () => confirm(`Remove ${clip.name} and what was found in it, corrections too? People who were learned from it stay.`) && attempt(async () => {
        await remove(`/api/clips/${clip.id}`);
        location.hash = "#learn";
      }) }, "Remove it"), again));
    card.append(part);
  }
  return card;
}

// The first that a browser can: MP4 tells how long it is, and a busy machine leaves out fewer frames
const RECORDED = ["video/mp4;codecs=avc1", "video/mp4", "video/webm"];

function recordButton(send) {
  if (!navigator.mediaDevices || !window.MediaRecorder) return null;
  let recorder = null;
  const button = h("button", { type: "button", onclick: () => attempt(async () => {
    if (recorder) return recorder.stop();
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } } }).catch(() => {
      throw new Error("There is no camera, or the browser was not allowed to use it.");
    });
    const parts = [];
    const view = h("video", { muted: true, autoplay: true, playsinline: true });
    view.srcObject = stream;
    button.before(view);
    const kind = RECORDED.find((one) => MediaRecorder.isTypeSupported(one)) || "";
    recorder = new MediaRecorder(stream, kind ? { mimeType: kind } : {});
    recorder.ondataavailable = (event) => parts.push(event.data);
    recorder.onstop = () => {
      stream.getTracks().forEach((track) => track.stop());
      view.remove();
      fill(button, "Record with the camera");
      recorder = null;
      send(new File(parts, kind.startsWith("video/mp4") ? "recording.mp4" : "recording.webm"));
    };
    recorder.start();
    fill(button, "Stop recording");
    return undefined;
  }) }, "Record with the camera");
  return button;
}

/** The form of a look: `box`, `asked()`, what it says now, and `span`, the part that such a form is of in words. */
function partForm(about, clip, changed) {
  const given = before() || newest("check", (form) => form.clip === clip.id)?.about || {};
  const base = h("select", { id: "base" }, about.bases.map((one) => h("option", { value: one.name }, one.name)));
  base.value = (about.bases.find((one) => one.name === given.base) || about.bases[0]).name;
  const rate = (name = base.value) => (about.bases.find((one) => one.name === name) || about.bases[0]).fps;
  const line = timeline(clip, 64 / rate(), { start: given.start, seconds: given.frames && given.frames / rate() }, changed);
  const word = h("input", { value: given.class_word ?? clip.class_word ?? "", placeholder: "man", autocomplete: "off", list: "words" });
  const scene = h("input", { value: given.scene ?? clip.scene ?? "", placeholder: "in a room", autocomplete: "off" });
  const person = inputs(given).number("person", 1, 20, "the only one");
  const go = h("button", { class: "main" }, "Look at it");
  const asked = () => {
    const { start, seconds } = line.part();
    return { clip: clip.id, start, frames: Math.min(Math.max(Math.round(seconds * rate()), 8), 64),
      class_word: word.value, scene: scene.value, base: base.value, person: numberIn(person) };
  };
  const span = (form) => `${(form.start || 0).toFixed(1)} s to ${((form.start || 0) + form.frames / rate(form.base)).toFixed(1)} s`;
  const box = h("form", { class: "tools", oninput: changed, onsubmit: (event) => {
    event.preventDefault();
    attempt(() => post("/api/jobs", { job: "check", ...asked() }));
  } }, line.box,
  h("datalist", { id: "words" }, ["man", "woman", "person", "boy", "girl"].map((one) => h("option", { value: one }))),
  h("div", { class: "fields" }, field(LABELS.check.class_word, word, "One word."), field(LABELS.check.place, scene, "So that the place is not learned."), field(LABELS.check.base, base, "What draws the pictures.")),
  h("details", { open: Boolean(given.person) }, h("summary", {}, "Several people in the clip"), h("div", { class: "fields" }, field(LABELS.check.person, person, "1 is the most prominent."))),
  h("div", { class: "row" }, go, h("span", { class: "note" }, "Finds the person, and estimates the time and memory of learning.")));
  return { box, asked, span };
}

// The second step: what was found

function waiting(card, job) {
  card.hidden = false;
  refill(card, head("2", "What was found"), atWork(job));
}

/** Show what an ended look found; where it was stopped or failed, why, and what was found before. current: whether this is still what is to be shown, as answers come late. Returns where
 * the card says that it is of something else. learning: the card of the next step, `learn`; drafts: captions that were not saved, by what was looked at. */
async function showFound(card, learning, learn, check, given, drafts, current) {
  const clip = given.id;
  const done = check?.state === "done";
  const report = done ? (await get(`/api/jobs/${check.id}`)).result : null;
  let about = null;
  try {
    about = await get(`/api/subjects/${clip}`);
  } catch (error) {
    if (error.status !== 404) throw error;
  }
  const { agreed, question } = await get("/api/about");
  if (!current()) return undefined;
  card.hidden = !check && !about;
  if (card.hidden) return undefined;
  const verdict = report?.verdict || about?.verdict || (check && !done ? "" : "unusable");
  const findings = report?.findings || about?.findings || [];
  const other = h("p", { class: "warn", role: "status" });
  const of = JSON.stringify([about?.count, check ? { ...check.about, base: "" } : null]); // frames of another part have other captions
  refill(card, head("2", "What was found", check && !done ? null : badge(verdict)), check && !done ? notDone(check, clip, about) : null,
    other, verdict && findingsList(findings, check || { kind: "check", names: { [clip]: given.name } }), report ? written(check, report, [given]) : null,
    about ? editor(clip, about, { view: { drafts: drafts[of] ??= {} } }) : null);
  other.hidden = true;
  learning.hidden = !about || verdict === "unusable";
  const ask = given.bundled || agreed ? null : question;
  if (!learning.hidden) learn.show(about, ask, report, () => check?.about.base || document.getElementById("base").value);
  return other;
}

/** Why a look did not end, and how to go on; about: what was found before, if anything was. */
const notDone = (check, clip, about) => h("div", { class: "tools" }, check.state === "failed" ? failure(check) : h("p", { class: "note" }, "Stopped."),
  h("div", { class: "row" }, h("button", { onclick: () => resume(check) }, "Try again"),
    check.text.includes("manual corrections") ? h("button", { onclick: () => attempt(async () => {
      await remove(`/api/subjects/${clip}`);
      await resume(check);
    }) }, "Drop the corrections and try again") : null),
  about ? h("p", { class: "note" }, "Below is what was found before, with its corrections.") : null);
