// System: whether all works on this machine, the bases, and what was done.

import { ago, attempt, clock, fill, h, openDialog, refill } from "./dom.js";
import { given, keep } from "./links.js";
import { ended, get, remove, watch } from "./net.js";
import { failure } from "./readable.js";
import { resume } from "./work.js";

const TONES = { ok: "good", note: "", warning: "warn", broken: "bad" };

export async function show(main, _, closing) {
  const about = await get("/api/about");
  const jobs = h("section", { class: "card" });
  const checks = h("section", { class: "card", "aria-label": "Checks of this machine" });
  const look = h("button", { onclick: () => attempt(doctor) }, "Check this machine");
  fill(main, h("div", {}, h("h1", {}, "System"), h("p", { class: "lead" }, `AnimateAnywhere ${about.version}. Runs are in ${about.runs}. Nothing is sent anywhere.`)), jobs, checks,
    h("section", { class: "card" }, h("h2", {}, "Base models that are ready"), h("ul", { class: "plain" }, basesOf(about).map(([one, does]) =>
      h("li", {}, h("b", {}, one.name), h("span", { class: "note" }, `  ${one.size} px, ${one.frames} frames at ${one.fps} a second${does && `, for ${does}`}`)))),
    h("p", { class: "note" }, "More of them: ", h("code", {}, "aa bases"), " and ", h("code", {}, "aa base-train"), " on the command line.")));
  fill(checks, h("h2", {}, "This machine"), h("div", { class: "row" }, look, h("span", { class: "note" }, "Takes some seconds. The same as aa doctor.")));

  let found = given([], "system");
  keep(main, "system", () => found);
  if (found.checks) showChecks();

  async function doctor() {
    look.disabled = true;
    fill(look, "Checking…");
    try {
      found = { ...await get("/api/doctor"), at: Date.now() / 1000 };
      showChecks();
    } finally {
      look.disabled = false;
      fill(look, "Check this machine");
    }
  }

  function showChecks() {
    const groups = Map.groupBy ? Map.groupBy(found.checks, (one) => one.group) : new Map([["checks", found.checks]]);
    fill(checks, h("header", {}, h("h2", {}, "This machine"), h("span", { class: "note" }, `checked ${ago(found.at)}`), h("span", { class: "push" }, look)), h("table", { class: "checks" }, [...groups].map(([group, rows]) => h("tbody", {},
      h("tr", {}, h("th", { colspan: 3, scope: "rowgroup" }, group)),
      rows.map((one) => h("tr", {}, h("td", {}, one.name), h("td", {}, h("span", { class: `badge ${TONES[one.level]}` }, one.level)), h("td", {}, one.text, one.todo ? h("div", { class: "note" }, one.todo) : null)))))));
  }

  let shown = null;
  closing(watch(({ jobs: list }) => {
    const old = list.filter(ended).reverse();
    const key = old.map((job) => job.id + job.state + job.ended).join();
    if (key === shown) return; // what is open in it stays open
    shown = key;
    refill(jobs, h("header", {}, h("h2", {}, "What was done")), old.length ? h("table", { class: "checks" }, h("tbody", {}, old.map((job) => h("tr", {},
      h("td", {}, job.title, job.text ? failure(job) : null),
      h("td", {}, h("span", { class: `badge ${{ done: "good", failed: "bad", stopped: "warn" }[job.state]}` }, job.state)),
      h("td", { class: "note" }, job.ended && job.begun ? `${clock(job.ended - job.begun)}, ${ago(job.ended)}` : ""),
      h("td", {}, h("div", { class: "row" }, h("button", { class: "plain", "aria-label": `Command of ${job.title}`, onclick: () => attempt(() => command(job)) }, "Command"),
        job.state === "done" ? null : h("button", { class: "plain", "aria-label": `Go on: ${job.title}`, onclick: () => resume(job) }, "Go on"),
        h("button", { class: "plain", "aria-label": `Forget ${job.title}`, onclick: () => attempt(() => remove(`/api/jobs/${job.id}`)) }, "Forget"))))))) : h("p", { class: "note" }, "Nothing yet."));
  }));
}

/** All bases that are ready, each with the tab that it is for; "" for those of Generate, which some others take as well. */
const basesOf = (about) => [...about.bases.map((one) => [one, ""]), ...Object.entries({ Swap: about.bases_for.swap, Cast: about.bases_for.cast })
  .flatMap(([tab, bases]) => bases.filter((one) => !one.prompted).map((one) => [one, tab]))];

/** The command line that does the same. */
async function command(job) {
  const whole = await get(`/api/jobs/${job.id}`);
  const quoted = whole.arguments.map((word) => (/^[\w./=:+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`));
  const dialog = openDialog("Command line", h("h2", {}, "The same on the command line"), h("p", {}, h("code", {}, ["aa", ...quoted].join(" "))),
    h("div", { class: "row" }, h("button", { class: "main", onclick: () => dialog.close() }, "Close")));
}
