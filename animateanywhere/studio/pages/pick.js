// Cards to choose from: a picture, a name and some words over a radio button, or as a link.

import { h } from "./dom.js";

/** A card; input: options of its radio button, look: of its name. */
export function pick(input, thumb, name, words, look = {}) {
  return h("label", { class: "pick" }, h("input", { type: "radio", ...input }), face(thumb, name, words, look));
}

/** A card that leads to an address. */
export const door = (href, thumb, name, words, look = {}) => h("a", { class: "pick", href }, face(thumb, name, words, look));

const face = (thumb, name, words, look) => h("span", { class: "face" }, h("span", { class: "thumb" }, thumb),
  h("span", { class: "words" }, h("b", look, name), h("span", {}, words)));

/** The frame in the middle of a clip; whole: not cut to the shape of a card. */
export function middleFrame(one, whole = false) {
  const picture = h("canvas", { class: whole ? "whole" : "photo", width: one.strip_width, height: one.strip_height });
  const strip = new Image();
  strip.onload = () => picture.getContext("2d").drawImage(strip, -Math.floor((one.strip - 1) / 2) * one.strip_width, 0);
  strip.src = `/api/clips/${one.id}/strip`;
  return picture;
}
