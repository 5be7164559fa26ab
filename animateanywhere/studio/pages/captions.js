// The caption of a frame in the editor. What was typed and not saved stays with its frame, and is said to be that.

import { field, h, toast } from "./dom.js";
import { put } from "./net.js";

/**
 * The fields for the captions of a subject, `about` as the server tells it, in `box`; `show()` is of the frame in `look`.
 * first: number of the first frame in the clip; saveOver: saves a thing that is called so; saved: is told the frames.
 */
export function captionFields(id, about, look, first, saveOver, saved) {
  const { drafts } = look;
  const caption = h("textarea", { rows: 3, oninput: () => {
    if (caption.value === about.captions[look.frame]) delete drafts[look.frame];
    else drafts[look.frame] = caption.value;
    tell();
  } });
  const everywhere = h("input", { type: "checkbox", checked: look.everywhere, onchange: () => { look.everywhere = everywhere.checked; } });
  const words = h("span", { role: "status" });
  const drop = h("button", { type: "button", class: "plain", onclick: () => {
    delete drafts[look.frame];
    show();
    caption.focus();
  } }, "Drop what was typed");
  const unsaved = h("div", { class: "row warn" }, words, drop);
  const save = h("button", { type: "button", onclick: () => {
    const frames = look.everywhere ? about.captions.map((_, i) => i) : [look.frame];
    const text = caption.value;
    saveOver(look.everywhere ? "A caption" : `The caption of frame ${first + look.frame}`, async () => {
      const { version } = await put(`/api/subjects/${id}/captions`, { frames, caption: text, versions: frames.map((frame) => about.versions.caption[frame]) });
      for (const frame of frames) {
        about.captions[frame] = text;
        about.versions.caption[frame] = version;
        if (drafts[frame] === text) delete drafts[frame]; // or it was typed since
      }
      tell();
      saved(frames);
      toast("The caption is saved.");
    });
  } }, "Save the caption");

  /** Say what is not saved, of this frame and of others. */
  function tell() {
    const here = look.frame in drafts;
    const others = Object.keys(drafts).map(Number).filter((frame) => frame !== look.frame && frame < about.count);
    const numbers = others.map((frame) => first + frame).join(", ");
    const said = [here ? `Not saved yet. Saved is “${about.captions[look.frame]}”.` : "",
      others.length ? `Typed and not saved yet: the caption of frame ${numbers}.` : ""].filter(Boolean).join(" ");
    if (words.textContent !== said) words.textContent = said;
    drop.hidden = !here;
    unsaved.hidden = !said;
  }

  function show() {
    if (drafts[look.frame] === about.captions[look.frame]) delete drafts[look.frame];
    caption.value = drafts[look.frame] ?? about.captions[look.frame];
    tell();
  }

  return { box: [field("Caption", caption, "<token> stands for the word that you choose below."), unsaved,
    h("label", { class: "check" }, everywhere, "for all frames"), save], show };
}
