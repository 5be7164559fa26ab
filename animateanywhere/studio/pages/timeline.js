// The part of a clip to use: a strip of its frames with two handles, and a frame to look at.

import { field, fill, h } from "./dom.js";
import { LABELS } from "./labels.js";

const NUDGE = 0.1; // seconds for an arrow key
const words = (seconds) => `${seconds.toFixed(1)} s`;

/** A timeline of a clip; longest: seconds that are used at most; moved: called when an end was. `part()` tells start and seconds. */
export function timeline(clip, longest, given = {}, moved = () => {}) {
  const total = Math.max(clip.seconds, 0.1);
  const range = { start: Math.min(given.start ?? 0, total), end: 0 };
  range.end = Math.min(range.start + Math.min(given.seconds ?? longest, longest), total);
  let now = range.start;

  const strip = new Image();
  strip.src = `/api/clips/${clip.id}/strip`;
  const frame = h("div", { class: "frame", role: "img", "aria-label": "The frame at the place that was chosen last" });
  const film = h("div", { class: "film", "aria-hidden": "true" });
  const picture = h("canvas", { height: 64 });
  const [before, after, part, mark] = ["out", "out", "part", "now"].map((name) => h("div", { class: name }));
  film.append(picture, before, after, part, mark);
  const told = h("p", { class: "note", role: "status" });
  const start = h("input", { type: "range", min: 0, max: total, step: NUDGE, id: "start" });
  const end = h("input", { type: "range", min: 0, max: total, step: NUDGE, id: "end" });

  /** Move one end; the other one follows where the part would become too long or empty. */
  function move(which, value) {
    if (which === "start") {
      range.start = Math.min(Math.max(value, 0), Math.max(total - 1, 0));
      range.end = Math.min(Math.max(range.end, range.start + Math.min(1, total)), range.start + longest, total);
    } else {
      range.end = Math.min(Math.max(value, Math.min(1, total)), total);
      range.start = Math.max(Math.min(range.start, range.end - Math.min(1, total)), range.end - longest, 0);
    }
    now = which === "start" ? range.start : range.end;
    draw();
    moved();
  }

  function draw() {
    const percent = (seconds) => `${(seconds / total) * 100}%`;
    Object.assign(before.style, { left: 0, width: percent(range.start) });
    Object.assign(after.style, { left: percent(range.end), right: 0 });
    Object.assign(part.style, { left: percent(range.start), width: percent(range.end - range.start) });
    mark.style.left = percent(now);
    [start.value, end.value] = [range.start, range.end];
    start.setAttribute("aria-valuetext", words(range.start));
    end.setAttribute("aria-valuetext", words(range.end));
    fill(told, `${words(range.start)} to ${words(range.end)}: ${words(range.end - range.start)} of ${words(total)} are used`,
      clip.seconds > longest ? `; at most ${words(longest)} can be` : "");
    showFrame();
  }

  function showFrame() {
    const count = clip.strip || 1;
    const index = Math.min(Math.floor(now * (clip.strip_fps || 1)), count - 1);
    const high = frame.clientHeight || 200;
    const wide = (clip.strip_width / clip.strip_height) * high;
    Object.assign(frame.style, { width: `${wide}px`, backgroundImage: `url("${strip.src}")`,
      backgroundSize: `${wide * count}px ${high}px`, backgroundPosition: `${-index * wide}px 0` });
  }

  function drawFilm() {
    const across = film.clientWidth;
    if (!across || !strip.complete) return;
    picture.width = across;
    const wide = (clip.strip_width / clip.strip_height) * 64;
    const count = Math.ceil(across / wide);
    for (let i = 0; i < count; i += 1) {
      const index = Math.min(Math.floor((((i + 0.5) * wide) / across) * clip.strip), clip.strip - 1);
      picture.getContext("2d").drawImage(strip, index * clip.strip_width, 0, clip.strip_width, clip.strip_height, i * wide, 0, wide, 64);
    }
  }

  strip.onload = drawFilm;
  new ResizeObserver(() => { drawFilm(); showFrame(); }).observe(film);
  let held = null;
  const at = (event) => ((event.clientX - film.getBoundingClientRect().left) / film.clientWidth) * total;
  film.onpointerdown = (event) => {
    film.setPointerCapture(event.pointerId);
    held = Math.abs(at(event) - range.start) < Math.abs(at(event) - range.end) ? "start" : "end";
    move(held, at(event));
  };
  film.onpointermove = (event) => held && move(held, at(event));
  film.onpointerup = film.onpointercancel = () => { held = null; };
  start.oninput = () => move("start", Number(start.value));
  end.oninput = () => move("end", Number(end.value));

  const box = h("div", { class: "timeline" }, h("div", { class: "view" }, frame, told), film,
    h("div", { class: "ranges" }, field(LABELS.check.start, start), field(LABELS.check.frames, end)));
  requestAnimationFrame(draw);
  return { box, part: () => ({ start: Number(range.start.toFixed(2)), seconds: range.end - range.start }) };
}
