// A result beside its motion or its scene, frame by frame, and two results below a slider.

import { attempt, fill, h } from "./dom.js";
import { get } from "./net.js";
import { drawAlone } from "./skeleton.js";

/** What a result is called. */
export const titleOf = (item) => item.settings?.prompt || item.title || item.name;

/** The picture of a result: a video, or an animation that the browser plays itself. */
export function picture(item, options = {}) {
  if (item.shown === "video") {
    return h("video", { src: `/api/files/${item.id}`, muted: true, playsinline: true, loop: true, preload: "auto", ...options });
  }
  return h("img", { src: `/api/files/${item.id}`, alt: titleOf(item) });
}

/** A player of one result and what it was made from, or of two results. Returns its element. */
export function player(item, other = null) {
  const videos = [item, ...(other ? [other] : [])].map((one) => picture(one, { "aria-label": titleOf(one) }));
  const lead = videos[0];
  const fps = item.fps || 8;
  const shape = item.settings?.size ? `${item.settings.size[0]} / ${item.settings.size[1]}` : "1";
  const box = h("div", { class: "player" });
  if (item.shown !== "video") return fill(box, h("div", { class: "screens one" }, h("div", { class: "screen", vars: { "--shape": shape } }, lead)));

  const play = h("button", { type: "button", onclick: () => (lead.paused ? lead.play().catch(() => {}) : lead.pause()) }, "Play");
  const back = h("button", { type: "button", "aria-label": "One frame back", onclick: () => seek(index() - 1) }, "‹");
  const on = h("button", { type: "button", "aria-label": "One frame on", onclick: () => seek(index() + 1) }, "›");
  const place = h("input", { type: "range", min: 0, max: 1, value: 0, "aria-label": "Frame", oninput: () => seek(Number(place.value)) });
  const told = h("output", {});
  const canvas = h("canvas", { role: "img", "aria-label": "The motion" });
  let motion = null;
  let at = 0; // seconds of the frame that is shown
  // What plays beside it: a video, the second of it in which the result begins, and its frames per second
  const followers = other ? [{ video: videos[1], start: 0, fps }] : [];

  const count = () => Math.max(Math.round((lead.duration || 0) * fps), 1);
  const index = () => Math.min(Math.floor(at * fps + 1e-3), count() - 1);
  function seek(frame) {
    lead.pause();
    const wanted = Math.min(Math.max(frame, 0), count() - 1);
    lead.currentTime = (wanted + 0.5) / fps; // the middle of a frame: never the one beside it
    for (const one of followers) one.video.currentTime = timeIn(one, wanted);
  }

  /** The middle of the frame of a video that belongs to a frame of the result. */
  const timeIn = (one, frame) => one.start + frame / fps + 0.5 / Math.max(fps, one.fps);

  function draw() {
    place.max = count() - 1;
    place.value = index();
    fill(told, `${index() + 1} of ${count()}`);
    for (const one of followers) {
      if (lead.paused === false && Math.abs(one.video.currentTime - one.start - lead.currentTime) > 0.6 / fps) one.video.currentTime = one.start + lead.currentTime;
    }
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
  lead.onplay = () => { fill(play, "Pause"); followers.forEach((one) => one.video.play().catch(() => {})); };
  lead.onpause = () => {
    fill(play, "Play");
    for (const one of followers) { one.video.pause(); one.video.currentTime = timeIn(one, index()); }
  };
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

  function showBeside(view, words) {
    const screen = h("div", { class: "screen", vars: { "--shape": shape } }, view, h("span", { class: "tag" }, words));
    screens.classList.remove("one");
    screens.append(screen);
    return () => { screen.remove(); screens.classList.add("one"); };
  }

  /** Show the motion beside the result: keypoints by the id of a motion. */
  box.setMotion = (id) => attempt(async () => {
    motion = await get(`/api/motions/${id}`);
    canvas.width = 480;
    canvas.height = Math.round((480 * motion.height) / motion.width);
    showBeside(canvas, "Motion");
    draw();
  });

  /** Show the scene beside the result, an upload in whose second `start` the result begins. */
  box.setScene = (id, start) => attempt(async () => {
    const clip = (await get("/api/clips")).find((one) => one.id === id);
    if (clip?.kind !== "video") return;
    const view = h("video", { src: `/api/clips/${id}/video`, muted: true, playsinline: true, preload: "auto", "aria-label": clip.name });
    const one = { video: view, start, fps: clip.fps };
    const hide = showBeside(view, "Scene");
    view.onloadedmetadata = () => { followers.push(one); view.currentTime = timeIn(one, index()); };
    view.onerror = hide; // of a kind that browsers do not show
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
    range.setAttribute("aria-valuetext", `${range.value} % ${names[0]}, ${100 - range.value} % ${names[1]}`);
  };
  range.oninput = cut;
  cut();
  const screen = h("div", { class: "screen", vars: { "--shape": shape } }, videos, slit,
    h("span", { class: "tag" }, names[0]), h("span", { class: "tag right" }, names[1]));
  screen.onpointerdown = screen.onpointermove = (event) => {
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
  return h("div", { class: "row downloads" }, h("span", { class: "note" }, "Download"),
    Object.entries(forms).map(([form, words]) => h("a", { class: "button", href: `/api/results/${item.id}/${form}`, download: true }, words)));
}
