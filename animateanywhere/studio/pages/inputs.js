// Fields of a form that begin with what a link brought.

import { h } from "./dom.js";

/** Makers of fields by the keys of a form. */
export function inputs(start) {
  const number = (key, least, most, hint, step = 1) => h("input", { type: "number", min: least, max: most, step, value: start[key] ?? "", placeholder: hint ?? "" });
  const text = (key, hint) => h("input", { value: start[key] ?? "", placeholder: hint ?? "", autocomplete: "off" });
  const choice = (key, options) => {
    const select = h("select", {}, Object.entries(options).map(([name, words]) => h("option", { value: name }, words)));
    select.value = start[key] in options ? start[key] : Object.keys(options)[0];
    return select;
  };
  const base = (bases) => choice("base", Object.fromEntries(bases.map((one) => [one.name, one.name])));
  return { number, text, choice, base };
}

/** What a field of numbers says; null where it is empty. */
export const numberIn = (input) => (input.value === "" ? null : Number(input.value));
