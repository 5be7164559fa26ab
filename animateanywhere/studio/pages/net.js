// Requests to the studio's server, and its stream of events.

import { attempt } from "./dom.js";

class Refused extends Error {
  constructor(message, status, newer = false) {
    super(message);
    this.status = status;
    this.newer = newer; // what was to be replaced is not what this page had loaded
  }
}

async function send(method, path, body, headers) {
  let answer;
  try {
    answer = await fetch(path, { method, body, headers });
  } catch {
    throw new Refused("The studio does not answer. Is `aa studio` still running?", 0);
  }
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

async function refusal(answer) {
  if (answer.status === 403) return new Refused("The studio was started anew: open the address that it printed in this browser, then this page goes on.", 403);
  const text = await answer.text();
  try {
    const { error, newer } = JSON.parse(text);
    return new Refused(error, answer.status, newer);
  } catch {
    return new Refused(`The studio could not do this (${answer.status}).`, answer.status);
  }
}

async function ask(method, path, body, kind, more = {}) {
  const answer = await send(method, path, body, kind ? { "content-type": kind, ...more } : {});
  return answer.status === 204 ? null : answer.json();
}

export const get = (path) => ask("GET", path);
/** A picture and its version, by which the server knows what of it a page has seen. */
export async function getPicture(path) {
  const answer = await send("GET", path);
  return { blob: await answer.blob(), version: answer.headers.get("etag") };
}
export const post = (path, form) => ask("POST", path, form ? JSON.stringify(form) : undefined, form ? "application/json" : undefined);
export const put = (path, form) => ask("PUT", path, JSON.stringify(form), "application/json");
export const putPicture = (path, blob, version) => ask("PUT", path, blob, blob.type, { "if-match": version });
export const remove = (path) => ask("DELETE", path);

/** A function that saves one thing after the other, in the order asked for: save(key, send). Of what waits with the same
 * key, only the last is sent. `save.settled()` waits until all is saved. */
export function saver() {
  const waiting = new Map();
  let last = Promise.resolve();
  const save = (key, send) => {
    waiting.set(key, send);
    last = last.then(async () => {
      const next = waiting.get(key);
      waiting.delete(key);
      if (next) await attempt(next);
    });
  };
  save.settled = () => last;
  return save;
}

/** The same question again and again: the answer to the last one; null where a newer one was asked meanwhile. */
export function newestAnswer(path) {
  let asked = 0;
  return async () => {
    const mine = (asked += 1);
    const answer = await get(path);
    return mine === asked ? answer : null;
  };
}

/** Send a file; onShare is called with the share that is sent. */
export function upload(file, name, onShare) {
  return new Promise((done, fail) => {
    const request = new XMLHttpRequest();
    request.open("POST", `/api/clips?name=${encodeURIComponent(name)}`);
    request.upload.onprogress = (event) => event.lengthComputable && onShare(event.loaded / event.total);
    request.onerror = () => fail(new Refused("The upload broke off. Is `aa studio` still running?", 0));
    request.onload = () => {
      let answer = {};
      try {
        answer = JSON.parse(request.responseText);
      } catch { /* said below */ }
      if (request.status === 201) done(answer);
      else fail(new Refused(answer.error || `The upload was refused (${request.status}).`, request.status));
    };
    request.send(file);
  });
}

// How all jobs stand, for whoever listens; the same in all tabs and after a reload
export const state = { jobs: [], runs: "", known: false }; // runs: the folder of the runs
const listeners = new Set();

/** Call `heard` now and with each change, until the function that is returned is called. */
export function watch(heard) {
  listeners.add(heard);
  heard(state);
  return () => listeners.delete(heard);
}

/** Wait until it is known how the jobs stand: forms begin with what the newest look was of. */
export const firstNews = () => new Promise((done) => {
  const stop = watch(({ known }) => { if (known) { setTimeout(() => stop()); done(); } });
});

const AGAIN = 3000; // ms between requests to a studio that does not let this page in

export function connect(onLost) {
  const source = new EventSource("/api/events");
  source.onopen = () => onLost(null);
  source.onmessage = (event) => {
    Object.assign(state, JSON.parse(event.data), { known: true });
    for (const heard of [...listeners]) heard(state);
  };
  source.onerror = async () => {
    forget();
    if (source.readyState !== EventSource.CLOSED) return onLost("The studio does not answer; it is asked again…");
    // A browser gives up where it is refused. Once the new address was opened in it, this page is let in as well
    for (;;) {
      try {
        await get("/api/about");
        return connect(onLost);
      } catch (error) {
        onLost(error.message);
      }
      await new Promise((done) => setTimeout(done, AGAIN));
    }
  };
}

/** How far the work is is not known any more, nor can it be stopped from here. */
function forget() {
  state.jobs = state.jobs.map((job) => (ended(job) ? job : { ...job, state: "unknown", progress: undefined }));
  for (const heard of [...listeners]) heard(state);
}

export const newest = (kind, fits) => state.jobs.filter((one) => one.kind === kind && fits(one.about)).at(-1);
export const ended = (one) => ["done", "failed", "stopped"].includes(one.state);
