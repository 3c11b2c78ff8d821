// Lists of items with bars; the arrow keys move through them.

import { empty, h, score } from "./dom.js";

// A row: an item or a user, its bar's share (0 to 1) and its number; open() returns the details below it, and hint is
// shown in place of an item's id.
export function row(item, place, { share, number, open, key, hint }) {
  const small = hint ?? (item.title && h("small", {}, String(item.item_id)));
  const name = h("span", { class: "name" }, named(item), small);
  const bar =
    share === undefined
      ? null
      : h("span", { class: share < 0 ? "bar against" : "bar", share: Math.abs(share) }, h("i"));
  const parts = [h("span", { class: "place" }, String(place)), name, bar, h("span", { class: "number" }, number)];
  if (!open)
    return h(
      "li",
      {},
      h("a", { class: "row", href: pageOf(item), "data-row": true, "data-key": key }, parts),
    );
  const button = h(
    "button",
    { class: "row", type: "button", "aria-expanded": "false", "data-row": true, "data-key": key },
    parts,
  );
  button.addEventListener("click", () => unfold(button, open));
  return h("li", {}, button);
}

export const named = (item) => h("b", {}, item.title ?? String(item.item_id ?? item.user_id));
export const link = (view, id) => "#" + new URLSearchParams([[view, id]]);
const pageOf = (item) => (item.user_id === undefined ? link("item", item.item_id) : link("user", item.user_id));

async function unfold(button, open) {
  const opened = button.getAttribute("aria-expanded") === "true";
  button.setAttribute("aria-expanded", String(!opened));
  button.dispatchEvent(new Event("unfold", { bubbles: true }));
  if (opened) return button.nextElementSibling?.remove();
  const panel = h("div", { class: "why" }, h("span", { class: "bone", share: 0.6 }));
  button.after(panel);
  panel.replaceChildren(await open());
}

// A list that grows: more(n, offset) returns the next rows' data, make(entry, place) a row.
export function growing(first, step, more, make, none) {
  if (!first.length) return empty(none);
  const list = h(
    "ol",
    { class: "rows", onkeydown: walk },
    first.map((entry, place) => make(entry, place + 1)),
  );
  const button = h("button", { type: "button", class: "more", onclick: grow }, "Show more");
  return h("div", {}, list, first.length === step && button);

  async function grow() {
    button.disabled = true;
    const entries = await more(step, list.children.length).catch(() => null);
    button.disabled = false;
    if (!entries) return;
    const before = list.children.length;
    list.append(...entries.map((entry, place) => make(entry, before + place + 1)));
    list.children[before]?.querySelector("[data-row]").focus();
    if (entries.length < step) button.remove();
  }
}

export const list = (entries, make) =>
  h(
    "ol",
    { class: "rows", onkeydown: walk },
    entries.map((entry, place) => make(entry, place + 1)),
  );

const STEPS = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };

export function walk(event) {
  const step = STEPS[event.key];
  const rows = [...event.currentTarget.querySelectorAll("[data-row]")];
  const here = rows.indexOf(document.activeElement);
  if (!step || here < 0) return;
  event.preventDefault();
  rows[Math.min(rows.length - 1, Math.max(0, here + step))].focus();
}

export const signed = (number) => (number > 0 ? "+" : "") + score(number);
