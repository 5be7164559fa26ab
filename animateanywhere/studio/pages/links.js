// What the addresses of the tabs bring: a form to begin with.

import { state } from "./net.js";

/** The address of a tab with its form filled in. */
export const again = (tab, form) => `#${tab}/again/${encodeURIComponent(JSON.stringify(form))}`;

const left = {}; // forms as they were when their tab was left, by tab

/** Keep the form of a tab that is left, to begin with it on coming back. */
export const keep = (tab, form) => { left[tab] = form; };

/** What a link to a tab brings: a prompt, or a form; else the form as it was left, or of the tab's newest job. kinds: of
 * these jobs, the first of which is the name of the tab. */
export function given([what, value], ...kinds) {
  try {
    if (what === "prompt") return { prompt: decodeURIComponent(value) };
    if (what === "again") return { ...JSON.parse(decodeURIComponent(value)) };
  } catch { /* a link that was cut off brings nothing */ }
  return left[kinds[0]] || state.jobs.filter((job) => kinds.includes(job.kind)).at(-1)?.about || {};
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
