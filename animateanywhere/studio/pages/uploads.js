// Files to upload, and cards of the pictures that were.

import { attempt, fill, h } from "./dom.js";
import { LABELS } from "./labels.js";
import { remove, upload } from "./net.js";
import { middleFrame, pick } from "./pick.js";

/** Upload a file; returns its facts. `wrong` says what is wrong with them, if anything is: then it is removed again. */
export async function take(file, wrong, onShare) {
  const facts = await upload(file, file.name || "recording.webm", onShare);
  const why = wrong(facts);
  if (!why) return facts;
  await remove(`/api/clips/${facts.id}`);
  throw new Error(`${facts.name}: ${why}`);
}

/** A button that uploads files and calls `then` with the facts of each. */
export function addButton(words, accept, wrong, then, multiple = false) {
  const input = h("input", { type: "file", accept, hidden: true, multiple, "aria-label": words });
  const button = h("button", { type: "button", class: "plain", onclick: () => input.click() }, words);
  input.onchange = () => attempt(async () => {
    try {
      for (const file of [...input.files]) {
        then(await take(file, wrong, (part) => fill(button, `${Math.round(part * 100)} %`)));
      }
    } finally {
      fill(button, words);
      input.value = "";
    }
  });
  return [button, input];
}

const onlyPictures = (facts) => (facts.kind === "picture" ? "" : `a picture is needed, and this is a ${facts.kind === "video" ? "video" : "motion"}.`);
const noMotions = (facts) => (facts.kind === "poses" ? "a picture or a clip is needed, and this is a motion." : "");
export const onlyVideos = (facts) => (facts.kind === "video" ? "" : `a video is needed, and this is ${facts.kind === "picture" ? "one picture" : "a motion"}.`);

const MOST = 4; // pictures of a person

/**
 * Cards of the uploaded pictures, and of clips where one will do, of which some are chosen.
 * Returns its element, a button to add some, and the ids in the order in which they were chosen.
 */
export function pictureCards(clips, start, changed, orClips = false) {
  const pictures = clips.filter((one) => one.kind === "picture" || (orClips && one.kind === "video"));
  const chosen = (Array.isArray(start) ? start : []).filter((id) => pictures.some((one) => one.id === id)).slice(0, MOST);
  const box = h("div", { class: "cards", role: "group", "aria-label": "Pictures" });
  const toggle = (id, on) => {
    chosen.splice(0, chosen.length, ...chosen.filter((one) => one !== id), ...(on ? [id] : []));
    if (chosen.length > MOST) chosen.shift();
    list();
    changed();
  };
  const drop = (one) => confirm(`Remove ${one.name} from the studio?`) && attempt(async () => {
    await remove(`/api/clips/${one.id}`);
    pictures.splice(pictures.indexOf(one), 1);
    toggle(one.id, false);
  });
  const size = (one) => (one.kind === "video" ? `clip · ${one.seconds.toFixed(1)} s` : `${one.width} × ${one.height}`);
  const words = (one) => (chosen.length > 1 && chosen.includes(one.id) ? `${chosen.indexOf(one.id) + 1} of ${chosen.length}` : size(one));
  function list() {
    const held = box.contains(document.activeElement) ? document.activeElement.value : null;
    fill(box, pictures.map((one) => h("div", {}, pick({ type: "checkbox", name: "picture", value: one.id, checked: chosen.includes(one.id), onchange: (event) => toggle(one.id, event.target.checked) },
      middleFrame(one, true), one.name, words(one), { title: one.name }), one.bundled ? null : h("button", { type: "button", class: "plain", "aria-label": `Remove ${one.name}`, onclick: () => drop(one) }, "Remove"))),
    pictures.length ? null : h("p", { class: "empty" }, "Add a picture: one person, whole, sharp, before any background. A cut-out PNG is its own mask."));
    if (held) box.querySelector(`[value="${held}"]`)?.focus();
  }
  list();
  const add = addButton(LABELS.cast.also, orClips ? "image/*,video/*" : "image/*", orClips ? noMotions : onlyPictures, (facts) => { clips.unshift(facts); pictures.unshift(facts); toggle(facts.id, true); }, true);
  return { box, add, chosen };
}
