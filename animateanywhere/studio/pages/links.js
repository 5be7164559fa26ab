// What the addresses of the tabs bring: a form to begin with, as it was when this place of the browser's history was left.

import { state } from "./net.js";

const PLACES = 100; // of the history that are kept
const KEY = "places";
let kept = { next: 0, tabs: {}, places: {} }; // forms by tab as it was left last, and by place; reloads leave them
try {
  kept = JSON.parse(sessionStorage.getItem(KEY)) || kept;
} catch { /* begin anew */ }
const store = () => {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(kept));
  } catch { /* full: a reload forgets it */ }
};
let here = null; // the place that is shown
let leaving = null; // its tab, and what reads its form

/** Come to the place of the history that the address is of. Returns how far down it was when it was left; 0 for a new one. */
export function arrive() {
  const known = history.state?.place;
  here = known ?? (kept.next += 1);
  leaving = null;
  if (known === undefined) {
    history.replaceState({ place: here }, "");
    store();
  }
  return kept.places[here]?.down || 0;
}

/** Keep what is left, for coming back to it, by the history or by its tab, and for a reload. */
export function depart() {
  if (!leaving) return;
  const form = leaving.read();
  kept.places[here] = { form, down: scrollY };
  kept.tabs[leaving.tab] = form;
  for (const place of Object.keys(kept.places)) if (place <= here - PLACES) delete kept.places[place];
  store();
}

/** Let a tab be kept when it is left. read: gives its form, in values of JSON. */
export const keep = (main, tab, read) => { if (main.isConnected) leaving = { tab, read }; };

/** The form as it was when this place of the history was left; undefined for a new one. */
export const before = () => kept.places[here]?.form;

/** The address of a tab with its form filled in. */
export const again = (tab, form) => `#${tab}/again/${encodeURIComponent(JSON.stringify(form))}`;

/** The form as it was here; what a link to a tab brings, a prompt or a form; else the form as its tab was left, or of the
 * tab's newest job. kinds: of these jobs, the first of which is the name of the tab. */
export function given([what, value], ...kinds) {
  if (before()) return before();
  try {
    if (what === "prompt") return { prompt: decodeURIComponent(value) };
    if (what === "again") return { ...JSON.parse(decodeURIComponent(value)) };
  } catch { /* a link that was cut off brings nothing */ }
  return kept.tabs[kinds[0]] || state.jobs.filter((job) => kinds.includes(job.kind)).at(-1)?.about || {};
}

/** The address of the tab that makes a result, with its settings; null where no tab does. people: the learned ones. */
export function repeat(item, people) {
  const made = item.settings;
  if (!made) return null;
  const { prompt, seed, steps, guidance, base, person, frames, start, appearance } = made;
  if (item.kind === "generate") {
    const who = people.find((one) => one.token === made.token);
    return again("generate", { prompt, negative: made.negative, seed, steps, guidance: made.guidance_scale, fit: made.fit, person: who?.id ?? "", base, motion: item.motion_id });
  }
  if (item.kind === "swap") return again("swap", { ...item.given, seed, steps, guidance, base, person, class_word: made.class_word, appearance, place: made.place, character_person: made.character_person, fit: made.fit, start, frames });
  return item.kind === "cast" ? again("cast", { ...item.given, prompt, appearance, seed, steps, guidance, likeness: made.likeness, base, person, whole: made.whole, motion: item.motion_id, frames: item.motion_id ? null : frames }) : null;
}
