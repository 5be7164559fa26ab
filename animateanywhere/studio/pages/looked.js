// Whether what a form asks for is what was looked at.

import { fill } from "./dom.js";

const SAID = { start: "the part of the clip", frames: "the part of the clip", class_word: "what the person is", scene: "where it was filmed", base: "the base model",
  person: "the number of the person", character_person: "the number of the person in the picture" };

/** Say in a line what of a form differs from that of a look, and then what to do; returns whether anything does. */
export function tellOther(line, now, looked, then) {
  const keys = Object.keys(SAID).filter((key) => key in now && String(now[key] || "") !== String(looked[key] || ""));
  const words = [...new Set(keys.map((key) => SAID[key]))].join(", ");
  fill(line, words && `This is of another choice than the one above, in ${words}: ${then}`);
  line.hidden = !words;
  return Boolean(words);
}
