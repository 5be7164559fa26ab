// Whether what a form asks for is what was looked at.

const SAID = { start: "the part of the clip", frames: "the part of the clip", class_word: "what the person is", scene: "where it was filmed", base: "the base model",
  person: "the number of the person", character_person: "the number of the person in the picture" };

/** What of a form differs from that of a look, in words; "" where nothing does. */
export function differences(now, looked) {
  const differ = Object.keys(SAID).filter((key) => key in now && String(now[key] || "") !== String(looked[key] || ""));
  return [...new Set(differ.map((key) => SAID[key]))].join(", ");
}
