// History: all that was made, also by the command line.

import { ago, attempt, fill, h, openDialog, refill, size, toast } from "./dom.js";
import { ended, newest, newestAnswer, post, remove, watch } from "./net.js";
import { firstPrompt } from "./generate.js";
import { again, given, keep, repeat } from "./links.js";
import { measured } from "./measured.js";
import { downloads, picture, player, titleOf } from "./player.js";
import { resume } from "./work.js";

const KINDS = { all: "All", videos: "Videos", people: "People", runs: "Other runs", deleted: "Deleted" };
const TONES = { finished: "good", running: "warn", stopped: "warn", unknown: "" };

export async function show(main, [opened], closing) {
  const ask = newestAnswer("/api/history");
  let past = await ask();
  const begin = given([], "history");
  let kind = begin.kind || "all";
  const search = h("input", { type: "search", value: begin.search || "", placeholder: "Words of a prompt, a name, a seed…", "aria-label": "Search", oninput: () => list() });
  const chips = Object.entries(KINDS).map(([name, label]) => h("button", { "data-kind": name, onclick: () => { kind = name; list(); } }, label));
  const grid = h("div", { class: "results" });
  const total = h("p", { class: "note", role: "status" });
  fill(main, h("div", {}, h("h1", {}, "History"), h("p", { class: "lead" }, "Everything in the folder of the runs, whether made here or on the command line.")),
    h("div", { class: "row" }, h("div", { class: "search" }, search), h("div", { class: "group", role: "group", "aria-label": "Kinds" }, chips), h("span", { class: "push" }, total)), grid);

  const fits = (item) => (kind === "videos" ? item.settings : kind === "people" ? item.kind === "personalize" : kind === "runs" ? !item.settings && item.kind !== "personalize" : true)
    && search.value.toLowerCase().split(/\s+/).every((word) => words(item).includes(word));

  function list() {
    if (kind === "deleted" && !past.deleted.length) kind = "all";
    for (const chip of chips) {
      chip.hidden = chip.dataset.kind === "deleted" && !past.deleted.length;
      chip.setAttribute("aria-pressed", String(chip.dataset.kind === kind));
    }
    const items = kind === "deleted" ? past.deleted : past.items.filter(fits);
    refill(grid, items.length ? items.map((item) => (kind === "deleted" ? deletedCard(item) : card(item)))
      : h("p", { class: "empty" }, past.items.length ? "Nothing fits." : "Nothing was made yet. Begin with Learn or Generate."));
    fill(total, `${items.length} of ${kind === "deleted" ? past.deleted.length : past.items.length} · ${size(past.bytes)} on the disk`);
  }

  async function refresh() {
    const answer = await ask();
    if (!answer) return;
    past = answer;
    list();
  }

  const erase = (item, byKey) => attempt(async () => {
    const { id } = await remove(`/api/history/${item.id}`);
    await refresh();
    const said = toast(`Deleted ${item.name}`, { action: ["Undo", () => bringBack(id)] });
    if (byKey) said.querySelector("button").focus();
  });
  const bringBack = (id) => attempt(async () => { await post(`/api/deleted/${id}`); await refresh(); });

  function card(item) {
    const details = () => openDetails(item, past);
    const thumb = item.shown ? picture(item, { tabindex: -1, preload: "metadata" }) : item.person?.picture ? h("img", { src: `/api/files/${item.person.picture}`, alt: "" }) : null;
    if (thumb?.play) { thumb.onmouseenter = () => thumb.play().catch(() => {}); thumb.onmouseleave = () => thumb.pause(); }
    return h("article", { class: "result" },
      h("button", { class: `thumb${thumb ? "" : " none"}`, "aria-label": `Open ${item.name}`, onclick: details }, thumb || item.kind),
      h("div", { class: "body" }, h("b", {}, titleOf(item)),
        h("p", { class: "note" }, item.settings ? `${item.kind === "generate" ? "" : `${item.kind} · `}seed ${item.settings.seed} · ${ago(item.changed)}` : `${item.kind} · ${ago(item.changed)} · ${size(item.bytes)}`),
        item.settings ? null : h("p", {}, h("span", { class: `badge ${TONES[item.state]}` }, item.words)),
        stoppedJob(item) ? h("div", { class: "row" }, h("button", { "aria-label": `Go on with ${item.name}`, onclick: () => resume(stoppedJob(item)) }, "Go on")) : null,
        item.problems.map((text) => h("p", { class: "note bad" }, text)),
        h("div", { class: "row" }, h("button", { class: "plain", "aria-label": `Details of ${item.name}`, onclick: details }, "Details"), item.state === "running" ? null : h("button", { class: "plain", "aria-label": `Delete ${item.name}`, onclick: (event) => erase(item, event.detail === 0) }, "Delete"))));
  }

  function deletedCard(item) {
    return h("article", { class: "result" }, h("div", { class: "body" }, h("b", {}, item.name), h("p", { class: "note" }, `${item.kind} · deleted ${ago(item.at)} · ${size(item.bytes)}`),
      h("div", { class: "row" }, h("button", { class: "plain", "aria-label": `Bring back ${item.name}`, onclick: () => bringBack(item.id) }, "Bring back"),
        h("button", { class: "plain bad", "aria-label": `Delete ${item.name} for good`, onclick: () => confirm(`Delete ${item.name} for good?`) && attempt(async () => { await remove(`/api/deleted/${item.id}`); await refresh(); }) }, "Delete for good"))));
  }

  list();
  keep(main, "history", () => ({ kind, search: search.value }));
  if (opened) attempt(() => { const item = past.items.find((one) => one.id === opened); if (item) openDetails(item, past); });
  let seen = null;
  closing(watch(({ jobs }) => {
    const key = jobs.map((job) => job.id + job.state).join();
    if (seen !== null && key !== seen && !jobs.some((job) => job.state === "unknown")) attempt(refresh);
    seen = key;
  }));
}

/** The job that learned a person and was stopped, or failed; null where the studio knows none. */
function stoppedJob(item) {
  if (item.kind !== "personalize" || item.state !== "stopped") return null;
  const job = newest("learn", (form) => form.token === item.learning?.token);
  return job && ended(job) && job.state !== "done" ? job : null;
}

const words = (item) => [item.name, item.title, item.kind, item.state, ...Object.values(item.settings || {})].join(" ").toLowerCase();

/** A result or run with all that is known of it. */
function openDetails(item, past) {
  const person = item.person;
  const facts = item.settings ? { ...item.settings, size: item.settings.size?.join(" × ") }
    : { kind: item.kind, state: item.words, size: size(item.bytes), changed: new Date(item.changed * 1000).toLocaleString(), ...item.learning, ...(person ? { token: person.token, "class word": person.class_word, appearance: person.appearance, base: person.base } : {}) };
  const close = h("button", { "aria-label": "Close", onclick: () => dialog.close() }, "✕");
  const same = repeat(item, past.people);
  const view = item.shown ? player(item) : null;
  if (item.motion_id) view?.setMotion?.(item.motion_id);
  if (item.given?.scene) view?.setScene?.(item.given.scene, item.settings.start || 0);
  // The address says what is open, for a reload, and for coming back
  const address = (hash) => history.replaceState(history.state, "", hash);
  address(`#history/${item.id}`);
  const dialog = openDialog(item.name,
    h("header", { class: "row" }, h("h2", {}, titleOf(item)), h("span", { class: "push" }, close)),
    view,
    h("dl", { class: "facts" }, Object.entries(facts).filter(([, value]) => value !== "" && value !== undefined && value !== null)
      .flatMap(([key, value]) => [h("dt", {}, key.replaceAll("_", " ")), h("dd", {}, String(value))]), h("dt", {}, "file"), h("dd", {}, h("code", {}, item.path))),
    same ? h("div", { class: "row" }, h("a", { class: "button", onclick: () => dialog.close(), href: same }, "Change and repeat")) : null,
    item.settings ? downloads(item) : h("div", { class: "row" }, h("a", { class: "button", href: `/api/runs/${item.id}/page`, target: "_blank", rel: "noopener" }, "Page of the run"),
      person ? h("a", { class: "button", onclick: () => dialog.close(), href: again("generate", { person: person.id, prompt: firstPrompt(person.token, person.class_word) }) }, "Generate with it") : null,
      person?.again ? h("a", { class: "button", onclick: () => dialog.close(), href: `#learn/again/${item.id}` }, "Learn again") : null),
    item.settings ? null : measured(item.id));
  dialog.addEventListener("close", () => { if (location.hash === `#history/${item.id}`) address("#history"); });
}
