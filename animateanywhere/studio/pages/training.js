// The training: the estimate before it, and stage, loss, time left and pictures while it goes.

import { curve } from "./curve.js";
import { consent } from "./consent.js";
import { attempt, clock, field, fill, h, refill } from "./dom.js";
import { estimate } from "./findings.js";
import { firstPrompt } from "./generate.js";
import { inputs, numberIn } from "./inputs.js";
import { LABELS } from "./labels.js";
import { ended, get, newest, post, watch } from "./net.js";
import { failure } from "./readable.js";
import { fillLog, head, progressWords, resume, share, stopButton } from "./work.js";

/**
 * The last step of Learn: the word for the person, and how the training goes. typed: the form as it was left here; known: of a
 * person who was learned before. Returns `asked()`, what the form says; `show`, which is told what was found; and `tell`, which
 * says why nothing can be learned now, "" where it can.
 */
export function learnCard(card, subject, closing, typed, known = {}) {
  const before = typed || newest("learn", (form) => form.subject === subject)?.about || known;
  const token = h("input", { value: before.token ?? "sks", required: true, minlength: 2, maxlength: 20, pattern: "[A-Za-z0-9]+", autocomplete: "off" });
  const words = h("input", { value: before.appearance ?? "", placeholder: "found by itself", autocomplete: "off" });
  const seed = inputs(before).number("seed", 0, 2 ** 32 - 1, "0");
  let found = null; // what the last look found
  let agreement = consent(null);
  const question = h("div", { hidden: true });
  const start = h("button", { class: "main" }, "Learn");
  const why = h("span", { class: "warn", role: "status", hidden: true });
  const guess = h("span", { class: "note", hidden: true });
  const live = h("div", { class: "tools", hidden: true });
  const asked = () => ({ token: token.value, appearance: words.value, seed: numberIn(seed) });
  const form = h("form", { class: "tools", onsubmit: (event) => {
    event.preventDefault();
    attempt(() => post("/api/jobs", { job: "learn", subject, again: Boolean(known.number), base: found.base(), agreed: agreement.agreed(), ...asked() }));
  } },
  h("div", { class: "fields" }, field(LABELS.learn.token, token, "A rare one, such as sks. Prompts use it."), field(LABELS.learn.appearance, words, "Such as “in a red shirt”."), field(LABELS.learn.seed, seed, "Another one gives a slightly different result.")),
  question, h("div", { class: "row" }, start, why, guess));
  fill(card, head(known.number || "3", "Learn"), form, live);
  const enable = () => {
    const job = newest("learn", (one) => one.subject === subject);
    start.disabled = !why.hidden || Boolean(job && !ended(job));
    return job;
  };
  function follow() {
    const job = enable();
    live.hidden = !job || !found;
    if (!live.hidden) progress(live, job, found.about, found.guess?.seconds);
  }
  closing(watch(follow));

  /** about: the subject; ask: the question before anybody is learned, null where it needs no answer; base: gives its name. */
  function show(about, ask, report, base) {
    found = { about, base, guess: report?.prediction?.personalize };
    if (ask !== question.asked) {
      agreement = consent(ask);
      fill(question, agreement.box);
      Object.assign(question, { asked: ask, hidden: !ask });
    }
    guess.hidden = !found.guess;
    fill(guess, found.guess && estimate(found.guess));
    delete live.dataset.of; // its words are of what was found
    follow();
  }
  function tell(reason) {
    why.hidden = !reason;
    fill(why, reason);
    enable();
  }
  return { asked, show, tell };
}

/** How a training goes; parts of it stay while they do not change, so that nothing flickers. */
function progress(box, job, about, guess) {
  if (box.dataset.of !== `${job.id} ${job.state}`) {
    box.dataset.of = `${job.id} ${job.state}`;
    box.parts = { time: h("p", { class: "big", role: "timer" }), words: h("p", { class: "note", role: "status" }), stages: h("div", { class: "steps" }),
      bar: h("progress", { max: 1, "aria-label": "Progress of this stage" }), plot: h("div"), log: h("ul", { class: "log", "aria-label": "Messages" }), samples: h("div", { class: "samples" }) };
    const { time, words, stages, bar, plot, log, samples } = box.parts;
    const over = ended(job);
    refill(box, over ? outcome(job, about) : [time, words, stages, bar], plot, samples, log,
      h("div", { class: "row" }, over ? null : stopButton(job)));
    const { of } = box.dataset;
    if (over) attempt(async () => { const whole = await get(`/api/jobs/${job.id}`); if (box.dataset.of === of) draw(box, whole); });
  }
  if (!ended(job)) draw(box, job, guess && job.begun && job.state !== "unknown" ? job.begun + guess - Date.now() / 1000 : 0);
}

/** left: seconds to the end of all stages as estimated before the start; 0 where that is not known, or over. */
function draw(box, job, left = 0) {
  const seen = job.progress;
  const { time, words, stages, bar, plot, log, samples } = box.parts;
  fill(time, job.state === "queued" ? "Queued" : left > (seen?.eta || 0) ? `About ${clock(left)} left` : seen?.eta ? `At least ${clock(seen.eta)} left` : "…");
  fill(words, progressWords(job));
  bar.value = share(job);
  if (!seen) return;
  const names = Object.keys(seen.losses);
  fill(stages, names.map((name) => h("span", { class: name === seen.stage ? "now" : "" }, name)));
  const last = names.at(-1);
  if (last) curve(plot, seen.losses[last], `loss of ${last}`, last === seen.stage ? seen.total : 0);
  fillLog(log, job);
  for (let i = samples.childElementCount; i < seen.pictures; i += 1) {
    samples.append(h("img", { src: `/api/jobs/${job.id}/pictures/${i}`, alt: `Picture ${i + 1} of the training` }));
  }
}

function outcome(job, about) {
  const goOn = h("div", { class: "row" }, h("button", { class: "main", onclick: () => resume(job) }, "Go on"));
  if (job.state === "done") {
    const prompt = firstPrompt(job.about.token, about.class_word);
    return [h("p", { class: "good" }, `Learned as “${job.about.token}”, in ${clock(job.ended - job.begun)}.`),
      h("div", { class: "row" }, h("a", { class: "button", href: `#generate/prompt/${encodeURIComponent(prompt)}` }, `Generate “${prompt}”`))];
  }
  if (job.state === "stopped") return [h("p", {}, "Stopped. What was learned so far is saved."), goOn];
  return [failure(job), goOn];
}

