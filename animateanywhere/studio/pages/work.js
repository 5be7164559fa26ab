// The bar at the bottom: what is at work, how far it is, and how to stop it.

import { attempt, clock, fill, h, openDialog, refill, toast } from "./dom.js";
import { again } from "./links.js";
import { ended, post, state, watch } from "./net.js";
import { readable } from "./readable.js";

/** The jobs that are at work and wait, in their order. */
const open = () => state.jobs.filter((job) => !ended(job) && job.state !== "unknown").sort((one, other) => (one.turn ?? -1) - (other.turn ?? -1));

/** What a job that waits waits for. */
function waitsFor(job) {
  const before = open().slice(0, open().findIndex((one) => one.id === job.id));
  if (!before.length) return "begins now…";
  return `waits for: ${before[0].title}${before.length > 1 ? `, and ${before.length - 1} more` : ""}`;
}

/** The address of the tab and the thing that a job is of. */
function placeOf({ kind, about }) {
  if (kind === "check") return `#learn/${about.clip}`;
  if (kind === "learn") return about.again ? `#learn/again/${about.subject}` : `#learn/${about.subject}`;
  const tab = kind === "motion" ? "generate" : kind.replace("check-", "");
  return kind === "motion" ? "#generate" : again(tab, { ...about, agreed: undefined });
}

const titleOf = (job) => h("a", { href: placeOf(job), title: "Show it" }, job.title);

/** What a job does now, in a few words. */
export function progressWords(job) {
  if (job.state === "unknown") return "how far it is is not known now";
  if (job.state === "queued") return waitsFor(job);
  if (job.state === "stopping") return "stops where it can go on…";
  const seen = job.progress;
  if (!seen || !seen.stage) return seen?.messages?.length ? readable(seen.messages.at(-1)[1], job) : "begins: the program and its models are loaded, up to a minute…";
  const left = seen.eta ? ` · ${clock(seen.eta)} left of this stage` : "";
  return `${seen.stage} · ${seen.step} of ${seen.total}${left}`;
}

/** The header of a card with the number of a step. */
export const head = (number, words, ...more) => h("header", {}, h("span", { class: "number", "aria-hidden": "true" }, number), h("h2", {}, words), ...more);

export const share = (job) => (job.progress?.total ? job.progress.step / job.progress.total : 0);

export function stopButton(job, plain = false) {
  if (job.state === "unknown") return null;
  const again = job.state === "stopping";
  return h("button", { class: plain ? "plain" : "", onclick: () => attempt(() => post(`/api/jobs/${job.id}/stop`)) },
    again ? "End it at once" : job.state === "queued" ? "Take off the queue" : "Stop");
}

/** Fill a list with what a job has said; it stays at its end where that was seen. */
export function fillLog(log, job) {
  const messages = job.progress?.messages || [];
  log.hidden = !messages.length;
  if (log.childElementCount === messages.length && messages.length !== 40) return;
  const bottom = log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
  fill(log, messages.map(([level, text]) => h("li", { class: level === "warning" ? "warn" : "" }, readable(text, job))));
  if (bottom) log.scrollTop = log.scrollHeight;
}

/** A look that waits or works: what it does, how far it is, and how to stop it. */
export const atWork = (job) => [h("p", { role: "status" }, progressWords(job)), h("progress", { max: 1, value: share(job), "aria-label": "Progress of the look" }), h("div", { class: "row" }, stopButton(job))];

/** Go on with a job that stopped or failed. */
export const resume = (job) => attempt(() => post(`/api/jobs/${job.id}/resume`));

export function showWork(bar) {
  const known = new Map();
  watch(({ jobs }) => {
    for (const job of jobs) {
      const before = known.get(job.id);
      known.set(job.id, job.state);
      if (before && before !== job.state && job.state === "failed") toast(`${job.title}: ${readable(job.text, job)}`, { bad: true });
      if (before && before !== job.state && job.state === "done") toast(`Done: ${job.title}`);
    }
    const [job, ...rest] = open();
    bar.hidden = !job;
    if (!job) return;
    const more = rest.length ? h("button", { class: "plain", onclick: showQueue }, `${rest.length} more in the queue`) : null;
    refill(bar,
      h("p", { class: "what" }, h("b", {}, titleOf(job)), h("span", { class: "note" }, `  ${progressWords(job)}`)),
      h("span", { class: "row" }, more, stopButton(job)),
      h("progress", { max: 1, value: share(job), "aria-label": `Progress of ${job.title}` }));
  });
}

/** What works and waits, in its order, each to be stopped or taken off. */
function showQueue() {
  const list = h("ol", { class: "queue" });
  const close = h("button", { "aria-label": "Close", onclick: () => dialog.close() }, "✕");
  const dialog = openDialog("The queue", h("header", { class: "row" }, h("h2", {}, "The queue"), h("span", { class: "push" }, close)), list);
  const stop = watch(() => refill(list, open().map((job) => h("li", {}, h("span", {}, h("b", {}, titleOf(job)), h("span", { class: "note" }, `  ${progressWords(job)}`)), stopButton(job, true))),
    open().length ? null : h("li", {}, "Nothing works or waits.")));
  dialog.addEventListener("close", stop);
}
