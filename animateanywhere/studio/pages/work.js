// The bar at the bottom: what is at work, how far it is, and how to stop it.

import { attempt, clock, fill, h, refill, toast } from "./dom.js";
import { ended, post, watch } from "./net.js";

/** What a job does now, in a few words. */
export function progressWords(job) {
  if (job.state === "queued") return "waits for its turn";
  if (job.state === "stopping") return "stops where it can go on…";
  const seen = job.progress;
  if (!seen || !seen.stage) return seen?.messages?.length ? seen.messages.at(-1)[1] : "begins…";
  const left = seen.eta ? ` · ${clock(seen.eta)} left of this stage` : "";
  return `${seen.stage} · ${seen.step} of ${seen.total}${left}`;
}

/** The header of a card with the number of a step. */
export const head = (number, words, ...more) => h("header", {}, h("span", { class: "number", "aria-hidden": "true" }, number), h("h2", {}, words), ...more);

export const share = (job) => (job.progress?.total ? job.progress.step / job.progress.total : 0);

export function stopButton(job, plain = false) {
  const again = job.state === "stopping";
  return h("button", { class: plain ? "plain" : "", onclick: () => attempt(() => post(`/api/jobs/${job.id}/stop`)) },
    again ? "End it at once" : job.state === "queued" ? "Take off the queue" : "Stop");
}

/** Fill a list with what a job has said; it stays at its end where that was seen. */
export function fillLog(log, messages) {
  log.hidden = !messages.length;
  if (log.childElementCount === messages.length && messages.length !== 40) return;
  const bottom = log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
  fill(log, messages.map(([level, text]) => h("li", { class: level === "warning" ? "warn" : "" }, text)));
  if (bottom) log.scrollTop = log.scrollHeight;
}

/** Go on with a job that stopped or failed. */
export const resume = (job) => attempt(() => post(`/api/jobs/${job.id}/resume`));

export function showWork(bar) {
  const known = new Map();
  watch(({ jobs }) => {
    for (const job of jobs) {
      const before = known.get(job.id);
      known.set(job.id, job.state);
      if (before && before !== job.state && job.state === "failed") toast(`${job.title}: ${job.text}`, { bad: true });
      if (before && before !== job.state && job.state === "done") toast(`Done: ${job.title}`);
    }
    const open = jobs.filter((job) => !ended(job));
    const job = open.find((one) => one.state !== "queued") || open[0];
    bar.hidden = !job;
    if (!job) return;
    const more = open.length > 1 ? h("span", { class: "badge" }, `${open.length - 1} more in the queue`) : null;
    refill(bar,
      h("p", { class: "what" }, h("b", {}, job.title), h("span", { class: "note" }, `  ${progressWords(job)}`)),
      h("span", { class: "row" }, more, stopButton(job)),
      h("progress", { max: 1, value: share(job), "aria-label": `Progress of ${job.title}` }));
  });
}
