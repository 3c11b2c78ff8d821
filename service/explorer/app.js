// The page: shows the view in the address, and follows changes of the model.

import { byId, h, renew, skeleton } from "./dom.js";
import { item, popular } from "./items.js";
import * as live from "./live.js";
import { model } from "./model.js";
import { newcomer } from "./newcomer.js";
import { problemPage, refusal } from "./problems.js";
import { setUpSearch } from "./search.js";
import { start } from "./start.js";
import { mayAsk } from "./token.js";
import { user } from "./user.js";

// By the first name in the address's fragment: #user=ana-0000, #new=a&new=b, #popular=&filter=price<20, #model=
const VIEWS = {
  user: (named) => user(named.get("user"), named.getAll("why"), named.getAll("also"), named.get("filter") ?? ""),
  item: (named) => item(named.get("item")),
  new: (named) => newcomer(named.getAll("new").filter(Boolean)),
  popular: (named) => popular(named.get("filter") ?? ""),
  model,
};

const TOAST_MS = 8000;
const main = byId("main");
let turn = 0;
let shown = {}; // the view: its node, and what it does at a swap (refresh) and at every look (follow)

const named = () => new URLSearchParams(location.hash.slice(1));

// Quietly (after a swap), the old view stays until the new one is ready. Moved: the reader opened another view, or
// asked for this one again.
async function show({ quietly = false, moved = false } = {}) {
  const mine = ++turn;
  const address = named();
  const [name] = address.keys();
  for (const link of document.querySelectorAll("nav [data-view]"))
    link.ariaCurrent = link.dataset.view === name ? "page" : null;
  if (moved) mayAsk();
  if (!quietly) {
    shown = {};
    main.replaceChildren(skeleton());
    window.scrollTo(0, 0);
  }
  const made = await view(name, address);
  if (mine !== turn) return;
  shown = made.node ? made : { node: made };
  renew(main, shown.node);
  document.title = `${main.querySelector("h1")?.textContent ?? "explorer"} · als-serve`;
  if (moved) main.focus({ preventScroll: true });
}

async function view(name, address) {
  try {
    return await (VIEWS[name] ?? start)(address);
  } catch (problem) {
    return { node: problemPage(problem, () => show({ moved: true })) };
  }
}

// A swap changes the content, not the scroll position.
const showAnew = () => (shown.refresh ? shown.refresh() : show({ quietly: true }));

function toast(kind, ...text) {
  const told = h("p", { class: `toast ${kind}` }, ...text);
  byId("toasts").append(told);
  setTimeout(() => told.remove(), TOAST_MS);
}

function banner(text) {
  byId("banner").hidden = !text;
  byId("banner").textContent = text;
}

function pill({ state, model_version: version }) {
  byId("pill").className = `pill ${state}`;
  byId("pill").lastElementChild.textContent = `${state}${version ? " · " + version.slice(0, 8) : ""}`;
}

live.on("model", pill);
live.on("model", (now) => shown.follow?.(now));
live.on("swap", ({ version }) => {
  toast("swap", "Now serving ", h("b", { class: "mono" }, version ?? "no model"));
  showAnew();
});
live.on("rejected", ({ reason, detail }) => toast("rejected", h("b", {}, `${refusal(reason)}. `), detail));
live.on("gone", ({ message, status }) => {
  banner(message);
  byId("pill").className = "pill gone";
  byId("pill").lastElementChild.textContent = status ? "refused" : "away";
});
live.on("back", () => {
  banner("");
  showAnew();
});

setUpSearch();
window.addEventListener("hashchange", () => show({ moved: true }));
await live.look();
show();
live.follow();
