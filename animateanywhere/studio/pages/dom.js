// Elements, words for numbers, and short messages.

const SVG = "http://www.w3.org/2000/svg";

/** An element: h("button", { class: "main", onclick: go }, "Go"). Text is never read as HTML. */
export function h(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  set(element, options);
  element.append(...present(children));
  return element;
}

const present = (children) => children.flat(9).filter((child) => child !== null && child !== undefined && child !== false);

/** The same for SVG. */
export function s(tag, options = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(options)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function set(element, options) {
  for (const [key, value] of Object.entries(options)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") Object.assign(element.style, value);
    else if (key === "vars") for (const [name, one] of Object.entries(value)) element.style.setProperty(name, one);
    else if (key === "value" || key === "checked" || key === "muted" || key === "disabled" || key === "hidden") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
}

let named = 0;

/** A label with its field below it, and what it means. */
export function field(words, input, hint) {
  input.id ||= `field-${(named += 1)}`;
  if (hint) input.setAttribute("aria-describedby", `${input.id}-hint`);
  return h("div", { class: "label" }, h("label", { for: input.id }, words), input, hint ? h("small", { id: `${input.id}-hint` }, hint) : null);
}

/** Replace what is in an element. */
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
  return element;
}

const FIELDS = "button:not(:disabled), a[href], input:not([hidden]), select, textarea, summary, [tabindex='0']";
const fieldsOf = (element) => [...element.querySelectorAll(FIELDS)];
const nameOf = (field) => field.getAttribute("aria-label") || field.innerText || field.id;

/** Fill an element anew by news of the work; the focus stays on what has the same name, or goes to what has its place. */
export function refill(element, ...children) {
  const held = document.activeElement;
  if (held === element || !element.contains(held)) return fill(element, ...children);
  const [place, name] = [fieldsOf(element).indexOf(held), nameOf(held)];
  fill(element, ...children);
  const fields = fieldsOf(element);
  (fields.find((one) => nameOf(one) === name) || fields[Math.min(place, fields.length - 1)] || document.querySelector("main"))?.focus({ preventScroll: true });
  return element;
}

/** Open a dialog, which is removed when it is closed. The focus goes back to what opened it, or to what was put there since. */
export function openDialog(label, ...children) {
  const dialog = h("dialog", { "aria-label": label }, h("div", { class: "inside" }, children));
  const opener = document.activeElement;
  dialog.onclose = () => {
    dialog.remove();
    if (!opener.isConnected) fieldsOf(document.querySelector("main")).find((one) => nameOf(one) === nameOf(opener))?.focus();
  };
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

export function clock(seconds) {
  if (seconds === null || seconds === undefined || !isFinite(seconds)) return "";
  const whole = Math.max(Math.round(seconds), 0);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${rest} s` : `${rest} s`;
}

export function size(bytes) {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(1)} GB`;
  if (bytes >= 1e6) return `${(bytes / 1e6).toFixed(1)} MB`;
  return `${Math.round(bytes / 1e3)} kB`;
}

export function ago(time) {
  const seconds = Date.now() / 1000 - time;
  if (seconds < 90) return "just now";
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} days ago`;
}

/** A message that goes away by itself, but not while it is used; action: [words, function], such as for undo. Returns it. */
export function toast(text, { bad = false, action = null } = {}) {
  const box = h("div", { class: bad ? "toast bad" : "toast" }, h("span", {}, text));
  if (bad) box.setAttribute("role", "alert");
  let back = document.activeElement; // to which the focus goes from here
  const close = () => {
    if (box.contains(document.activeElement)) (back?.isConnected ? back : document.querySelector("main")).focus();
    box.remove();
  };
  box.addEventListener("focusin", (event) => { if (!box.contains(event.relatedTarget)) back = event.relatedTarget || back; });
  if (action) box.append(h("button", { onclick: () => { close(); action[1](); } }, action[0]));
  else box.append(h("button", { "aria-label": "Dismiss", onclick: close }, "✕"));
  document.getElementById("toasts").append(box);
  const time = action || bad ? 12000 : 5000;
  const later = () => (box.matches(":hover") || box.querySelector(":focus-visible") ? setTimeout(later, time) : close());
  setTimeout(later, time);
  return box;
}

/** Run what a person asked for; what goes wrong is shown. Returns undefined then. */
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    toast(error.message || String(error), { bad: true });
    return undefined;
  }
}
