// Frames of a prepared clip with mask and skeleton over them, and their corrections: brush, joints, captions.

import { attempt, field, fill, h, toast } from "./dom.js";
import { put, putBlob } from "./net.js";
import { drawPose, nearestJoint } from "./skeleton.js";

const REACH = 0.05; // of the longer side: how near to a joint the pointer is
const STEPS_BACK = 40;

/** The editor of a subject, `about` as the server tells it. first: number of its first frame in the clip; captions: whether they matter. */
export function editor(id, about, { first = 0, captions = true } = {}) {
  const look = { frame: 0, tool: "look", brush: Math.max(Math.round(about.width / 14), 2), mask: true, bones: true, picked: -1 };
  const scale = Math.max(Math.round(560 / Math.max(about.width, about.height)), 1);
  const canvas = h("canvas", { width: about.width * scale, height: about.height * scale, tabindex: 0, role: "application",
    "aria-roledescription": "editor of a frame", "aria-label": "Frame with mask and skeleton. Arrow keys change the frame, or move the joint that is chosen." });
  const context = canvas.getContext("2d");
  const small = () => Object.assign(document.createElement("canvas"), { width: about.width, height: about.height });
  const mask = small(); // white with alpha: the person
  const shade = small();
  const photo = new Image();
  const undo = [];
  const fixed = Object.fromEntries(Object.entries(about.corrected).map(([kind, frames]) => [kind, new Set(frames)]));
  let stroke = null;
  let dirty = false;
  let cursor = null;

  const source = (kind) => `/api/subjects/${id}/${kind}/${look.frame}?${Date.now()}`;
  const picture = (path) => new Promise((done, fail) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => fail(new Error("A picture of this frame is missing."));
    image.src = path;
  });

  async function load() {
    const frame = look.frame;
    const [one, two] = await Promise.all([picture(source("frames")), picture(source("masks"))]);
    if (frame !== look.frame) return;
    photo.src = one.src;
    await photo.decode();
    setMask(two);
    draw();
  }

  /** The mask from a gray picture: its brightness becomes alpha. */
  function setMask(image) {
    const pen = mask.getContext("2d", { willReadFrequently: true });
    pen.globalCompositeOperation = "source-over";
    pen.clearRect(0, 0, mask.width, mask.height);
    pen.drawImage(image, 0, 0);
    const data = pen.getImageData(0, 0, mask.width, mask.height);
    for (let i = 0; i < data.data.length; i += 4) {
      data.data[i + 3] = data.data[i];
      data.data[i] = data.data[i + 1] = data.data[i + 2] = 255;
    }
    pen.putImageData(data, 0, 0);
  }

  /** The mask as a gray PNG file. */
  function maskFile() {
    const out = small();
    const pen = out.getContext("2d");
    pen.fillStyle = "black";
    pen.fillRect(0, 0, out.width, out.height);
    pen.drawImage(mask, 0, 0);
    return new Promise((done) => out.toBlob(done, "image/png"));
  }

  function draw() {
    context.imageSmoothingEnabled = true;
    context.drawImage(photo, 0, 0, canvas.width, canvas.height);
    if (look.mask) { // what is not the person is dimmed, with an edge in color
      const pen = shade.getContext("2d");
      pen.globalCompositeOperation = "copy";
      pen.fillStyle = "rgb(20 10 40 / 72%)";
      pen.fillRect(0, 0, shade.width, shade.height);
      pen.globalCompositeOperation = "destination-out";
      pen.drawImage(mask, 0, 0);
      context.drawImage(shade, 0, 0, canvas.width, canvas.height);
    }
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

  function brush(from, to) {
    const pen = mask.getContext("2d");
    pen.globalCompositeOperation = look.tool === "paint" ? "source-over" : "destination-out";
    pen.strokeStyle = "white";
    pen.lineCap = pen.lineJoin = "round";
    pen.lineWidth = 2 * look.brush;
    pen.beginPath();
    pen.moveTo(...from);
    pen.lineTo(to[0] + 0.01, to[1]);
    pen.stroke();
    dirty = true;
  }

  function remember(step) {
    undo.push(step);
    undo.splice(0, undo.length - STEPS_BACK);
    back.disabled = false;
  }

  async function saveMask(blob, frame) {
    await attempt(async () => {
      await putBlob(`/api/subjects/${id}/masks/${frame}`, blob);
      fixed.mask.add(frame);
      listFrames();
    });
  }

  async function savePose(frame) {
    await attempt(async () => {
      await put(`/api/subjects/${id}/poses/${frame}`, { pose: about.keypoints[frame] });
      fixed.pose.add(frame);
      listFrames();
    });
  }

  canvas.onpointerdown = async (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    const at = place(event);
    if (painting()) {
      const [frame, before] = [look.frame, await maskFile()];
      stroke = { at };
      remember(async () => { if (frame === look.frame) setMask(await createImageBitmap(before)); await saveMask(before, frame); draw(); });
      brush(at, at);
    } else if (look.tool === "joint") {
      look.picked = nearestJoint(about.keypoints[look.frame], about, ...at, REACH * Math.max(about.width, about.height));
      names.value = look.picked;
      if (look.picked >= 0) { beforeJoint(); stroke = { joint: look.picked, at }; }
    }
    draw();
  };
  canvas.onpointermove = (event) => {
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
  canvas.onpointerleave = () => { cursor = null; draw(); };
  canvas.onpointerup = canvas.onpointercancel = async () => {
    const done = stroke;
    stroke = null;
    if (done && done.joint === undefined && dirty) {
      dirty = false;
      await saveMask(await maskFile(), look.frame);
    } else if (done?.moved) await savePose(look.frame);
  };

  function beforeJoint() {
    const [frame, before] = [look.frame, about.keypoints[look.frame].map((point) => [...point])];
    remember(async () => { about.keypoints[frame] = before; draw(); await savePose(frame); });
  }

  function moveJoint([x, y]) {
    const point = about.keypoints[look.frame][look.picked];
    point[0] = Math.min(Math.max(x, 0), about.width);
    point[1] = Math.min(Math.max(y, 0), about.height);
    point[2] = 1;
  }

  let saving = 0;
  canvas.onkeydown = (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if ((event.ctrlKey || event.metaKey) && event.key === "z") { back.click(); event.preventDefault(); return; }
    if (!way) return;
    event.preventDefault();
    if (look.tool === "joint" && look.picked >= 0) {
      if (!saving) beforeJoint();
      const point = about.keypoints[look.frame][look.picked];
      moveJoint([point[0] + way[0] * (event.shiftKey ? 5 : 1), point[1] + way[1] * (event.shiftKey ? 5 : 1)]);
      clearTimeout(saving);
      const frame = look.frame;
      saving = setTimeout(() => { saving = 0; savePose(frame); }, 500);
      draw();
    } else if (way[0]) turn(look.frame + way[0]);
  };

  // The tools beside it

  const tools = { look: "Look", paint: "Paint", erase: "Erase", joint: "Joints" };
  const toolButtons = Object.entries(tools).map(([name, words]) => h("button", { type: "button", "aria-pressed": String(name === look.tool), onclick: () => choose(name) }, words));
  const back = h("button", { type: "button", class: "plain", disabled: true, onclick: async () => { const step = undo.pop(); back.disabled = !undo.length; await step?.(); } }, "Undo");
  const brushSize = h("input", { type: "range", min: 1, max: Math.round(about.width / 5), value: look.brush, oninput: () => { look.brush = Number(brushSize.value); } });
  const names = h("select", { onchange: () => { look.picked = Number(names.value); draw(); canvas.focus(); } },
    h("option", { value: -1 }, "none"), about.names.map((name, i) => h("option", { value: i }, name)));
  const brushField = field("Size of the brush", brushSize);
  const jointField = field("Joint", names, "Drag it, or move it with the arrow keys.");
  const hide = h("button", { type: "button", class: "plain", onclick: async () => {
    if (look.picked < 0) return toast("Choose a joint first.");
    beforeJoint();
    about.keypoints[look.frame][look.picked][2] = 0;
    draw();
    return savePose(look.frame);
  } }, "This joint cannot be seen");
  const toggle = (name, words) => h("label", { class: "check" }, h("input", { type: "checkbox", checked: true, onchange: (event) => { look[name] = event.target.checked; draw(); } }), words);
  const caption = h("textarea", { rows: 3 });
  const everywhere = h("input", { type: "checkbox", checked: true });
  const saveCaption = h("button", { type: "button", onclick: () => attempt(async () => {
    const frames = everywhere.checked ? about.captions.map((_, i) => i) : [look.frame];
    await put(`/api/subjects/${id}/captions`, { frames, caption: caption.value });
    for (const frame of frames) { about.captions[frame] = caption.value; fixed.caption.add(frame); }
    listFrames();
    toast("The caption is saved.");
  }) }, "Save the caption");

  function choose(name) {
    look.tool = name;
    Object.keys(tools).forEach((one, i) => toolButtons[i].setAttribute("aria-pressed", String(one === name)));
    brushField.hidden = !painting();
    jointField.hidden = hide.hidden = name !== "joint";
    canvas.style.cursor = { look: "default", paint: "none", erase: "none", joint: "grab" }[name];
    if (name !== "joint") look.picked = -1;
    draw();
  }

  const buttons = about.captions.map((_, i) => h("button", { type: "button", onclick: () => turn(i) }, String(first + i)));
  const slider = h("input", { type: "range", min: 0, max: about.count - 1, value: 0, "aria-label": "Frame", oninput: () => turn(Number(slider.value)) });
  const where = h("output", { class: "note" });
  const strip = h("div", { class: "frames", role: "group", "aria-label": "Frames" }, buttons);

  function listFrames() {
    buttons.forEach((button, i) => {
      const kinds = Object.entries(fixed).filter(([, frames]) => frames.has(i)).map(([kind]) => kind);
      button.classList.toggle("corrected", kinds.some((kind) => kind !== "caption"));
      button.setAttribute("aria-pressed", String(i === look.frame));
      button.setAttribute("aria-label", `Frame ${first + i}${kinds.length ? `, corrected: ${kinds.join(", ")}` : ""}`);
    });
    fill(where, `Frame ${first + look.frame}, of ${about.count} from ${first}`);
  }

  function turn(frame) {
    look.frame = Math.min(Math.max(frame, 0), about.count - 1);
    slider.value = look.frame;
    caption.value = about.captions[look.frame];
    listFrames();
    const [button, box] = [buttons[look.frame], strip];
    box.scrollTo({ left: button.offsetLeft - box.clientWidth / 2 });
    attempt(load);
  }

  const box = h("div", { class: "editor" },
    h("div", { class: "tools" }, h("div", { class: "stage" }, canvas), h("div", { class: "row" }, where), slider, strip),
    h("div", { class: "tools" },
      h("div", { class: "label" }, "Tool", h("div", { class: "row" }, h("div", { class: "group" }, toolButtons)), h("small", {}, "Bright is the person. Paint what is missing, erase what is too much.")),
      brushField, jointField, hide, h("div", { class: "row" }, toggle("mask", "Mask"), toggle("bones", "Skeleton"), h("span", { class: "push" }, back)),
      captions ? [field("Caption", caption, "<token> stands for the word that you choose below."),
        h("label", { class: "check" }, everywhere, "for all frames"), saveCaption] : null));
  choose("look");
  turn(0);
  return box;
}
