// A result beside its motion, frame by frame, and two results below a slider.

import { attempt, fill, h } from "./dom.js";
import { get } from "./net.js";
import { drawAlone } from "./skeleton.js";

/** The picture of a result: a video, or an animation that the browser plays itself. */
export function picture(item, options = {}) {
  if (item.shown === "video") {
    return h("video", { src: `/api/files/${item.id}`, muted: true, playsinline: true, loop: true, preload: "auto", ...options });
  }
  return h("img", { src: `/api/files/${item.id}`, alt: item.settings?.prompt || item.name });
}

/** A player of one result and its motion, or of two results. Returns its element. */
export function player(item, other = null) {
  const videos = [item, ...(other ? [other] : [])].map((one) => picture(one, { "aria-label": one.settings?.prompt || one.name }));
  const lead = videos[0];
  const fps = item.fps || 8;
  const shape = item.settings?.size ? `${item.settings.size[0]} / ${item.settings.size[1]}` : "1";
  const box = h("div", { class: "player" });
  if (item.shown !== "video") return fill(box, h("div", { class: "screens one" }, h("div", { class: "screen", vars: { "--shape": shape } }, lead)));

  const play = h("button", { type: "button", onclick: () => (lead.paused ? lead.play() : lead.pause()) }, "Play");
  const back = h("button", { type: "button", "aria-label": "One frame back", onclick: () => seek(index() - 1) }, "‹");
  const on = h("button", { type: "button", "aria-label": "One frame on", onclick: () => seek(index() + 1) }, "›");
  const place = h("input", { type: "range", min: 0, max: 1, value: 0, "aria-label": "Frame", oninput: () => seek(Number(place.value)) });
  const told = h("output", {});
  const canvas = h("canvas", { role: "img", "aria-label": "The motion" });
  let motion = null;
  let at = 0; // seconds of the frame that is shown

  const count = () => Math.max(Math.round((lead.duration || 0) * fps), 1);
  const index = () => Math.min(Math.floor(at * fps + 1e-3), count() - 1);
  function seek(frame) {
    lead.pause();
    const wanted = Math.min(Math.max(frame, 0), count() - 1);
    for (const video of videos) video.currentTime = (wanted + 0.5) / fps; // the middle of a frame: never the one beside it
  }

  function draw() {
    place.max = count() - 1;
    place.value = index();
    fill(told, `${index() + 1} of ${count()}`);
    if (other && lead.paused === false && Math.abs(videos[1].currentTime - lead.currentTime) > 0.6 / fps) videos[1].currentTime = lead.currentTime;
    if (!motion) return;
    const start = item.settings?.start || 0;
    const frame = Math.min(Math.round((index() / fps + start) * motion.fps), motion.keypoints.length - 1);
    drawAlone(canvas, motion, frame, canvas.width / motion.width, canvas.width / 420);
  }

  // Told by the browser for each frame that it shows, with the time of that frame
  const follow = (_, about) => {
    at = about.mediaTime;
    draw();
    lead.requestVideoFrameCallback(follow);
  };
  if (lead.requestVideoFrameCallback) lead.requestVideoFrameCallback(follow);
  else lead.ontimeupdate = () => { at = lead.currentTime; draw(); };
  lead.onseeked = () => { at = lead.currentTime; draw(); };
  lead.onplay = () => { fill(play, "Pause"); videos[1]?.play(); };
  lead.onpause = () => { fill(play, "Play"); videos[1]?.pause(); };
  lead.onloadedmetadata = draw;
  lead.onerror = () => box.prepend(h("p", { class: "bad" }, "This browser cannot play the video. Download it, or look at it as a GIF."));

  const screens = h("div", { class: "screens one" }, other ? slider(videos, shape, item, other)
    : h("div", { class: "screen", vars: { "--shape": shape } }, lead, h("span", { class: "tag" }, "Result")));
  fill(box, screens, h("div", { class: "transport" }, play, back, place, on, told));
  box.onkeydown = (event) => {
    if (event.target.matches("input, button")) return;
    if (event.key === "ArrowLeft") seek(index() - 1);
    if (event.key === "ArrowRight") seek(index() + 1);
  };

  /** Show the motion beside the result: keypoints by the id of a motion. */
  box.setMotion = (id) => attempt(async () => {
    motion = await get(`/api/motions/${id}`);
    canvas.width = 480;
    canvas.height = Math.round((480 * motion.height) / motion.width);
    screens.classList.remove("one");
    screens.append(h("div", { class: "screen", vars: { "--shape": shape } }, canvas, h("span", { class: "tag" }, "Motion")));
    draw();
  });
  return box;
}

/** Two videos in one place: the right one shows right of the slider. */
function slider(videos, shape, item, other) {
  const slit = h("div", { class: "slit" });
  const range = h("input", { type: "range", min: 0, max: 100, value: 50, "aria-label": "How much of the left and the right result is shown" });
  const names = [item, other].map((one) => `seed ${one.settings?.seed ?? "?"}`);
  const cut = () => {
    videos[1].style.clipPath = `inset(0 0 0 ${range.value}%)`;
    slit.style.left = `${range.value}%`;
  };
  range.oninput = cut;
  cut();
  const screen = h("div", { class: "screen", vars: { "--shape": shape } }, videos, slit,
    h("span", { class: "tag" }, names[0]), h("span", { class: "tag right" }, names[1]));
  screen.onpointermove = (event) => {
    if (!event.buttons) return;
    range.value = ((event.clientX - screen.getBoundingClientRect().left) / screen.clientWidth) * 100;
    cut();
  };
  return h("div", { class: "tools" }, screen, range);
}

/** Links that download a result in its forms. */
export function downloads(item) {
  if (!item.shown) return null;
  const own = item.name.split(".").at(-1).toUpperCase();
  const forms = item.shown === "video" ? { video: own, gif: "GIF", sheet: "Contact sheet", settings: "Settings" } : { video: own, settings: "Settings" };
  return h("div", { class: "row" }, h("span", { class: "note" }, "Download"),
    Object.entries(forms).map(([form, words]) => h("a", { class: "button", href: `/api/results/${item.id}/${form}`, download: true }, words)));
}
