// Results of one kind of job as they come, and all that can be done with the newest.

import { attempt, fill, h, refill } from "./dom.js";
import { again } from "./links.js";
import { ended, get, watch } from "./net.js";
import { downloads, player, titleOf } from "./player.js";
import { failure, readable } from "./readable.js";
import { fillLog, progressWords, resume, share, stopButton } from "./work.js";

/**
 * Show the jobs of a kind in a card; `send` makes another one of a form.
 * of: the kind, which is also the name of the tab; `kept`, what of a form makes the same again; `empty`, words where there is
 * nothing; and `beside`, which is given the player of a result and its form, and shows what it was made from.
 */
export function results(card, of, send, closing) {
  let shown = null;
  closing(watch(({ jobs }) => {
    const mine = jobs.filter((job) => job.kind === of.kind);
    const newest = mine.at(-1);
    const open = mine.filter((job) => !ended(job));
    const done = mine.filter((job) => job.state === "done");
    const key = mine.map((job) => job.id + job.state).join();
    if (key === shown) return open.forEach((job) => tick(card, job));
    shown = key;
    refill(card, h("h2", {}, "Result"), mine.length ? null : h("p", { class: "empty" }, of.empty), open.map(atWork),
      newest?.state === "failed" ? h("div", { class: "tools" }, failure(newest), h("div", { class: "row" }, h("button", { onclick: () => resume(newest) }, "Try again"))) : null,
      newest?.state === "stopped" ? h("div", { class: "tools" }, h("p", { class: "note" }, `Stopped: ${newest.title}`), h("div", { class: "row" }, h("button", { onclick: () => resume(newest) }, "Go on"))) : null);
    open.forEach((job) => tick(card, job));
    if (done.length) attempt(() => latest(card, of, done, send));
    return undefined;
  }));
}

const atWork = (job) => h("div", { class: "tools", "data-job": job.id }, h("b", {}, job.title), h("p", { class: "note", role: "status" }),
  h("progress", { max: 1, "aria-label": "Progress" }), h("ul", { class: "log", "aria-label": "Messages" }), h("div", { class: "row" }, stopButton(job)));

function tick(card, job) {
  const box = card.querySelector(`[data-job="${job.id}"]`);
  if (!box) return;
  fill(box.querySelector("p"), progressWords(job));
  box.querySelector("progress").value = share(job);
  fillLog(box.querySelector("ul"), job);
}

/** The newest result with all that can be done with it. */
async function latest(card, of, done, send) {
  const box = h("div", { class: "tools" });
  card.append(box); // at once: with the next news, it goes, and what comes late for it is not shown
  const past = await get("/api/history");
  const found = [];
  for (const job of done.slice(-8).reverse()) {
    const whole = await get(`/api/jobs/${job.id}`);
    const item = past.items.find((one) => one.path === whole.result);
    if (item) found.push([whole, item]);
  }
  const open = (job, item, other) => {
    const view = player(item, other);
    const select = h("select", { onchange: () => open(job, item, found.find(([, one]) => one.id === select.value)?.[1]) },
      h("option", { value: "" }, "nothing"), found.filter(([, one]) => one.id !== item.id).map(([, one]) => h("option", { value: one.id }, `seed ${one.settings.seed}: ${titleOf(one)}`)));
    select.value = other?.id || "";
    const form = Object.fromEntries(of.kept.map((key) => [key, job.about[key]]));
    const warnings = (job.progress?.messages || []).filter(([level]) => level === "warning");
    refill(box, view, h("p", {}, h("b", {}, titleOf(item)), h("span", { class: "note" }, `  seed ${item.settings.seed}, ${item.settings.steps} ${item.settings.steps === 1 ? "step" : "steps"}`)),
      h("div", { class: "row" },
        h("button", { onclick: () => send({ ...form, seed: (item.settings.seed + 1) % 2 ** 32 }) }, "Vary"),
        h("button", { onclick: () => { location.hash = again(of.kind, { ...form, seed: item.settings.seed }); } }, "Change and repeat"),
        found.length > 1 ? h("label", { class: "check push compare" }, "Compare with", select) : null),
      downloads(item),
      warnings.length ? h("details", {}, h("summary", {}, warnings.length > 1 ? `${warnings.length} warnings` : "A warning"), h("ul", { class: "plain note" }, warnings.map(([, text]) => h("li", {}, readable(text, job))))) : null,
      found.length > 1 ? h("div", { class: "frames", role: "group", "aria-label": "Newest results" }, found.map(([each, one], i) =>
        h("button", { "aria-pressed": String(one.id === item.id), "aria-label": `Result ${i + 1}: seed ${one.settings.seed}, ${titleOf(one)}`, onclick: () => open(each, one) }, String(found.length - i)))) : null);
    if (!other) of.beside(view, job.about);
  };
  if (found.length) open(...found[0]);
}
