// The question before people are put into videos, which is asked once.

import { h } from "./dom.js";

/** A box to tick; question: null where it needs no answer any more. */
export function consent(question) {
  const agreed = h("input", { type: "checkbox", required: true });
  const box = question ? h("label", { class: "check" }, agreed, h("span", {}, question, " ", h("span", { class: "note" }, "Asked once."))) : null;
  /** Whether to ask: rendered people need no question. */
  const ask = (people) => { agreed.required = people; if (box) box.hidden = !people; };
  return { box, ask, agreed: () => agreed.checked };
}
