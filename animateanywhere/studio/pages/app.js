// The page: tabs by the address, the bar of the work, and what is said when the server is gone.

import { attempt, fill, h } from "./dom.js";
import { arrive, depart } from "./links.js";
import { connect, firstNews } from "./net.js";
import { show as cast } from "./cast.js";
import { show as generate } from "./generate.js";
import { show as history } from "./history.js";
import { show as learn } from "./learn.js";
import { show as swap } from "./swap.js";
import { show as system } from "./system.js";
import { showWork } from "./work.js";

const TABS = { learn, generate, swap, cast, history, system };
let leave = () => {};

/** Show the tab that the address names: #learn, or #learn/ID. asked: by a person, whose focus goes to its title. */
function go(asked) {
  depart();
  const down = arrive();
  const [name, ...rest] = location.hash.slice(1).split("/");
  const tab = TABS[name] ? name : "learn";
  for (const link of document.querySelectorAll("#tabs a")) {
    if (link.hash === `#${tab}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  leave();
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
  // A new element each time: what was asked for by a tab that was left may still come, and must not be shown
  const main = h("main", { id: "main", tabindex: "-1" });
  document.getElementById("main").replaceWith(main);
  document.title = `${tab[0].toUpperCase()}${tab.slice(1)} · AnimateAnywhere studio`;
  const closing = [];
  leave = () => closing.forEach((close) => close());
  if (asked) main.focus();
  attempt(async () => {
    await firstNews();
    if (!main.isConnected) return;
    await TABS[tab](main, rest, (close) => (main.isConnected ? closing.push(close) : close()));
    const title = main.querySelector("h1");
    title?.setAttribute("tabindex", "-1");
    if (asked && document.activeElement === main) title?.focus({ preventScroll: true }); // nobody went on meanwhile
    if (down) scrollTo(0, down);
  });
}

function lost(text) {
  const line = document.getElementById("lost");
  line.hidden = text === null;
  fill(line, text === null ? "" : h("span", {}, text));
}

addEventListener("hashchange", () => go(true));
addEventListener("pagehide", depart);
history.scrollRestoration = "manual"; // what was there is not yet when the browser would go down to it
// The address names the tab, so the link is none of the browser's
document.querySelector(".skip").onclick = (event) => { event.preventDefault(); document.getElementById("main").focus(); };
// Files that miss their place would replace the page
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());
connect(lost);
showWork(document.getElementById("work"));
go(false);
