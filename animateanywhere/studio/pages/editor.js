// Frames of a prepared clip with mask and skeleton over them, and their corrections: brush, joints, captions.

import { captionFields } from "./captions.js";
import { attempt, field, fill, h, toast } from "./dom.js";
import { makeMask } from "./mask.js";
import { get, getPicture, put, putPicture, saver } from "./net.js";
import { drawPose, nearestJoint } from "./skeleton.js";

const REACH = 0.05; // of the longer side: how near to a joint the pointer is
const STEPS_BACK = 40;
const TOGETHER = 700; // ms between moves by keys that are undone together

/** The editor of a subject, `about` as the server tells it. first: number of its first frame in the clip; captions: whether they
 * matter; view: what of `look` is to begin with, such as `drafts`, captions by frame that were typed and not saved. */
export function editor(id, about, { first = 0, captions = true, view = {} } = {}) {
  const look = { frame: 0, tool: "look", brush: Math.max(Math.round(about.width / 14), 2), mask: true, bones: true, picked: -1, everywhere: true, drafts: {}, ...view };
  look.frame = Math.min(look.frame, about.count - 1);
  const scale = Math.max(Math.round(560 / Math.max(about.width, about.height)), 1);
  const canvas = h("canvas", { width: about.width * scale, height: about.height * scale, tabindex: 0, role: "application",
    "aria-roledescription": "editor of a frame", "aria-label": "Frame with mask and skeleton. The arrow keys change the frame, move the brush, or move the joint that is chosen." });
  const context = canvas.getContext("2d");
  const mask = makeMask(about.width, about.height);
  const photo = new Image();
  const undo = [];
  const fixed = Object.fromEntries(Object.entries(about.corrected).map(([kind, frames]) => [kind, new Set(frames)]));
  const filled = about.keypoints.map((_, i) => new Set(about.filled.filter(([frame]) => frame === i).map(([, joint]) => joint))); // interpolated joints
  const masks = []; // versions of those that were loaded
  const save = saver();
  let stroke = null; // of the brush, or of a joint: where it is and of which frame
  let cursor = null;
  let loaded = -1; // the frame whose picture and mask are here
  let moved = null; // the joint that was moved last by keys, and when

  const source = (kind) => `/api/subjects/${id}/${kind}/${look.frame}?${Date.now()}`;
  const picture = (path) => new Promise((done, fail) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => fail(new Error("A picture of this frame is missing."));
    image.src = path;
  });

  let loads = 0;

  async function load() {
    const [frame, mine] = [look.frame, (loads += 1)];
    loaded = -1;
    canvas.setAttribute("aria-busy", "true");
    await save.settled(); // what was painted here a moment ago
    const [one, { blob, version }] = await Promise.all([picture(source("frames")), getPicture(source("masks"))]);
    const given = await createImageBitmap(blob);
    if (mine !== loads) return;
    photo.src = one.src;
    await photo.decode();
    if (mine !== loads) return;
    mask.set(given);
    if ((masks[frame] ??= version) !== version) { // or another tab's changes would be undone with the own
      undo.splice(0, Infinity, ...undo.filter((one) => one.mask !== frame));
      back.disabled = !undo.length;
      newer.hidden = true;
      masks[frame] = version;
    }
    loaded = frame;
    canvas.setAttribute("aria-busy", "false");
    draw();
  }

  function draw() {
    context.imageSmoothingEnabled = true;
    context.drawImage(photo, 0, 0, canvas.width, canvas.height);
    if (look.mask) mask.dim(context);
    if (look.bones) drawPose(context, about.keypoints[look.frame], about, scale, { picked: look.picked, width: canvas.width / 520 });
    if (cursor && painting()) {
      context.beginPath();
      context.arc(cursor[0] * scale, cursor[1] * scale, look.brush * scale, 0, 7);
      context.lineWidth = 2;
      context.strokeStyle = look.tool === "paint" ? "#74d3c8" : "#ff9d90";
      context.stroke();
    }
  }

  const painting = () => look.tool === "paint" || look.tool === "erase";
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * about.width, ((event.clientY - box.top) / box.height) * about.height];
  };

  const brush = (from, to) => mask.brush(from, to, look.brush, look.tool === "erase");

  /** mask: the frame whose mask a step brings back, if it does. */
  function remember(step, mask = -1) {
    undo.push({ step, mask });
    undo.splice(0, undo.length - STEPS_BACK);
    back.disabled = false;
  }

  /** Corrected is what differs from what was found: not what was put back. */
  function noteFixed(kind, frame, corrected) {
    if (corrected) fixed[kind].add(frame);
    else fixed[kind].delete(frame);
    listFrames();
  }

  /** Save what is called so, but not over what another tab or a command has changed since it was loaded here. */
  const saveOver = (what, send) => save(what, async () => {
    try {
      await send();
    } catch (error) {
      if (!error.newer) throw error;
      newer.hidden = false;
      fill(newer, h("span", {}, `${what} was changed in another tab, or by a command, after this page had loaded it. What you change here is not saved over that. To load the newer one drops what was painted or moved here and could not be saved${captions ? "; a caption that was typed stays in its field" : ""}.`),
        h("button", { type: "button", onclick: () => attempt(loadNewer) }, "Load the newer one"));
      newer.scrollIntoView({ block: "nearest" });
    }
  });

  function saveMask(pixels, frame) {
    saveOver(`The mask of frame ${first + frame}`, async () => {
      const png = await new Promise((done) => pixels.toBlob(done, "image/png"));
      const { corrected, version } = await putPicture(`/api/subjects/${id}/masks/${frame}`, png, masks[frame]);
      masks[frame] = version;
      noteFixed("mask", frame, corrected);
    });
  }

  function savePose(frame) {
    saveOver(`The skeleton of frame ${first + frame}`, async () => {
      const { corrected, version } = await put(`/api/subjects/${id}/poses/${frame}`,
        { version: about.versions.pose[frame], pose: about.keypoints[frame], filled: [...filled[frame]] });
      about.versions.pose[frame] = version;
      noteFixed("pose", frame, corrected);
    });
  }

  /** Begin anew with what is on the disk now; what was typed and chosen stays. */
  async function loadNewer() {
    await save.settled();
    const anew = editor(id, await get(`/api/subjects/${id}`), { first, captions, view: look });
    box.replaceWith(anew);
    anew.querySelector("canvas").focus();
  }

  /** Put the brush down; it paints until it is lifted. */
  function press(at, byKeys = false) {
    const [frame, before] = [look.frame, mask.copy()];
    remember(() => {
      saveMask(before, frame);
      if (frame !== loaded) return turn(frame);
      mask.set(before);
      return draw();
    }, frame);
    stroke = { at, frame, byKeys };
    brush(at, at);
    listFrames();
  }

  function lift() {
    const done = stroke;
    stroke = null;
    if (!done) return;
    if (done.joint === undefined) saveMask(mask.copy(), done.frame);
    else if (done.moved) savePose(done.frame);
    listFrames();
  }

  canvas.onpointerdown = (event) => {
    if (event.button || loaded !== look.frame) return;
    lift();
    canvas.setPointerCapture(event.pointerId);
    const at = place(event);
    if (painting()) press(at);
    else if (look.tool === "joint") {
      pick(nearestJoint(about.keypoints[look.frame], about, ...at, REACH * Math.max(about.width, about.height)));
      if (look.picked >= 0) { beforeJoint(); stroke = { joint: look.picked, frame: look.frame }; }
    }
    draw();
  };
  canvas.onpointermove = (event) => {
    if (stroke?.byKeys) return;
    const at = place(event);
    cursor = at;
    if (stroke && stroke.joint === undefined) {
      brush(stroke.at, at);
      stroke.at = at;
    } else if (stroke) {
      moveJoint(at);
      stroke.moved = true;
    }
    draw();
  };
  canvas.onpointerleave = () => { if (!stroke) { cursor = null; draw(); } };
  canvas.onpointerup = canvas.onpointercancel = lift;
  canvas.onblur = () => { if (stroke?.byKeys) lift(); };

  function beforeJoint() {
    const [frame, before, interpolated] = [look.frame, about.keypoints[look.frame].map((point) => [...point]), new Set(filled[look.frame])];
    moved = null;
    remember(() => { about.keypoints[frame] = before; filled[frame] = interpolated; savePose(frame); if (frame !== look.frame) turn(frame); draw(); });
  }

  function moveJoint([x, y]) {
    const point = about.keypoints[look.frame][look.picked];
    point[0] = Math.min(Math.max(x, 0), about.width);
    point[1] = Math.min(Math.max(y, 0), about.height);
    point[2] = 1;
    filled[look.frame].delete(look.picked);
  }

  function pick(joint) {
    look.picked = joint;
    names.value = joint;
    listFrames();
  }

  const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.onkeydown = (event) => {
    const way = WAYS[event.key];
    const far = event.shiftKey ? 5 : 1;
    if ((event.ctrlKey || event.metaKey) && event.key === "z") back.click();
    else if (look.tool === "joint" && ["PageUp", "PageDown"].includes(event.key)) {
      const count = about.names.length;
      pick((Math.max(look.picked, event.key === "PageUp" ? 0 : -1) + (event.key === "PageUp" ? count - 1 : 1)) % count);
    } else if (way && look.tool === "joint" && look.picked >= 0) nudgeJoint(way, far);
    else if (painting() && (way || event.key === " ")) return paintByKeys(event, way, far);
    else if (way?.[0]) turn(look.frame + way[0]);
    else return undefined;
    draw();
    return event.preventDefault();
  };

  /** Move the chosen joint; moves in quick succession are undone together. */
  function nudgeJoint([across, down], far) {
    const now = performance.now();
    if (moved?.joint !== look.picked || moved.frame !== look.frame || now - moved.at > TOGETHER) beforeJoint();
    moved = { joint: look.picked, frame: look.frame, at: now };
    const point = about.keypoints[look.frame][look.picked];
    moveJoint([point[0] + across * far, point[1] + down * far]);
    savePose(look.frame);
    listFrames();
  }

  function paintByKeys(event, way, far) {
    event.preventDefault();
    if (loaded !== look.frame || event.repeat && !way) return;
    cursor ||= [about.width / 2, about.height / 2];
    if (!way) {
      if (stroke) lift();
      else press(cursor, true);
    } else {
      const step = Math.max(Math.max(about.width, about.height) / 64, 1) * far;
      const at = [Math.min(Math.max(cursor[0] + way[0] * step, 0), about.width), Math.min(Math.max(cursor[1] + way[1] * step, 0), about.height)];
      if (stroke) brush(stroke.at, at);
      if (stroke) stroke.at = at;
      cursor = at;
    }
    draw();
  }

  // The tools beside it

  const tools = { look: "Look", paint: "Paint", erase: "Erase", joint: "Joints" };
  const toolButtons = Object.entries(tools).map(([name, words]) => h("button", { type: "button", "aria-pressed": String(name === look.tool), onclick: () => choose(name) }, words));
  const back = h("button", { type: "button", class: "plain", disabled: true, onclick: () => { lift(); moved = null; undo.pop()?.step(); if (!undo.length) { if (document.activeElement === back) canvas.focus(); back.disabled = true; } } }, "Undo");
  const brushSize = h("input", { type: "range", min: 1, max: Math.round(about.width / 5), value: look.brush, oninput: () => { look.brush = Number(brushSize.value); } });
  const names = h("select", { onchange: () => { pick(Number(names.value)); draw(); } },
    h("option", { value: -1 }, "none"), about.names.map((name, i) => h("option", { value: i }, name)));
  const brushField = field("Size of the brush", brushSize, "By keyboard: on the frame, the arrow keys move the brush (with Shift five times as far), the space bar puts it down and lifts it.");
  const jointField = field("Joint", names, "Drag it. By keyboard: on the frame, Page Up and Page Down choose a joint, the arrow keys move it by a pixel, with Shift by five.");
  const hide = h("button", { type: "button", class: "plain", onclick: async () => {
    if (look.picked < 0) return toast("Choose a joint first.");
    beforeJoint();
    about.keypoints[look.frame][look.picked][2] = 0;
    filled[look.frame].delete(look.picked);
    draw();
    savePose(look.frame);
    return undefined;
  } }, "This joint cannot be seen");
  const toggle = (name, words) => h("label", { class: "check" }, h("input", { type: "checkbox", checked: look[name], onchange: (event) => { look[name] = event.target.checked; draw(); } }), words);
  const caption = captionFields(id, about, look, first, saveOver, (frames) => {
    for (const frame of frames) fixed.caption.add(frame);
    listFrames();
  });

  function choose(name) {
    lift();
    look.tool = name;
    Object.keys(tools).forEach((one, i) => toolButtons[i].setAttribute("aria-pressed", String(one === name)));
    brushField.hidden = !painting();
    jointField.hidden = hide.hidden = name !== "joint";
    canvas.style.cursor = { look: "default", paint: "none", erase: "none", joint: "grab" }[name];
    pick(name === "joint" ? look.picked : -1);
    draw();
  }

  const buttons = about.captions.map((_, i) => h("button", { type: "button", onclick: () => turn(i) }, String(first + i)));
  const slider = h("input", { type: "range", min: 0, max: about.count - 1, value: 0, "aria-label": "Frame", oninput: () => turn(Number(slider.value)) });
  const where = h("output", { class: "note" });
  const newer = h("div", { class: "row warn", role: "alert", hidden: true });
  const strip = h("div", { class: "frames", role: "group", "aria-label": "Frames", onkeydown: (event) => {
    const to = { ArrowLeft: look.frame - 1, ArrowRight: look.frame + 1, Home: 0, End: about.count - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    turn(to);
    buttons[look.frame].focus();
  } }, buttons);

  function listFrames() {
    buttons.forEach((button, i) => {
      const kinds = Object.entries(fixed).filter(([, frames]) => frames.has(i)).map(([kind]) => kind);
      button.classList.toggle("corrected", kinds.some((kind) => kind !== "caption"));
      button.setAttribute("aria-pressed", String(i === look.frame));
      button.tabIndex = i === look.frame ? 0 : -1; // one stop of the Tab key for all
      button.setAttribute("aria-label", `Frame ${first + i}${kinds.length ? `, corrected: ${kinds.join(", ")}` : ""}`);
    });
    const point = look.picked < 0 ? null : about.keypoints[look.frame][look.picked];
    const more = stroke?.byKeys ? ` · the brush ${look.tool === "paint" ? "paints" : "erases"}`
      : point ? ` · ${about.names[look.picked]} at ${Math.round(point[0])}, ${Math.round(point[1])}` : "";
    fill(where, `Frame ${first + look.frame}, of ${about.count} from ${first}${more}`);
  }

  function turn(frame) {
    lift();
    look.frame = Math.min(Math.max(frame, 0), about.count - 1);
    slider.value = look.frame;
    caption.show();
    listFrames();
    const [button, box] = [buttons[look.frame], strip];
    box.scrollTo({ left: button.offsetLeft - box.clientWidth / 2 });
    attempt(load);
  }

  const box = h("div", { class: "editor" },
    h("div", { class: "tools" }, newer, h("div", { class: "stage" }, canvas), h("div", { class: "row" }, where), slider, strip),
    h("div", { class: "tools" },
      h("div", { class: "label" }, "Tool", h("div", { class: "row" }, h("div", { class: "group" }, toolButtons)), h("small", {}, "Bright is the person. Paint what is missing, erase what is too much.")),
      brushField, jointField, hide, h("div", { class: "row" }, toggle("mask", "Mask"), toggle("bones", "Skeleton"), h("span", { class: "push" }, back)),
      captions ? caption.box : null));
  choose(look.tool);
  turn(look.frame);
  return box;
}
