// Picks items: a field that finds them by title or id, those found, and those picked.

import * as api from "./api.js";
import { empty, h } from "./dom.js";
import { named, walk } from "./lists.js";
import { problemIn } from "./problems.js";

const SHOWN = 14;
const titles = new Map(); // of all items shown so far, so that picked items keep their names

export function learn(items) {
  for (const item of items) if (item.title) titles.set(String(item.item_id), item.title);
}

// idle() returns what is shown while nothing is typed; changed(picked) is called after every change.
export function picker(picked, { label, idle, changed }) {
  const basket = h("ul", { class: "chips", "aria-label": "Picked" });
  const shelf = h("ol", { class: "rows shelf", onkeydown: walk, "aria-label": "Items to pick" });
  const field = h("input", {
    type: "search",
    placeholder: label,
    "aria-label": `${label} (a title or an id)`,
    autocomplete: "off",
    spellcheck: "false",
    "data-key": "picker",
    oninput: () => (finding = find()),
    onkeydown: take,
  });
  let found = [];
  let asking = new AbortController();
  let finding = find();
  showBasket();
  nameAll(picked).then(showBasket);
  return [field, basket, shelf];

  async function find() {
    asking.abort();
    asking = new AbortController();
    const text = field.value.trim();
    try {
      found = text ? (await api.findItems(text, SHOWN, asking.signal)).items : await idle(SHOWN);
      learn(found);
      showShelf();
      if (text && !found.length)
        shelf.append(h("li", {}, empty("There is no such item. Press Enter to use this as an id.")));
    } catch (problem) {
      if (problem.name !== "AbortError") shelf.replaceChildren(h("li", {}, problemIn(problem)));
    }
  }

  function toggle(id) {
    picked = picked.includes(id) ? picked.filter((other) => other !== id) : [...picked, id];
    showBasket();
    showShelf();
    changed(picked);
  }

  function showBasket() {
    basket.replaceChildren(...picked.map((id) => h("li", {}, chip(titles.get(id) ?? id, () => toggle(id)))));
  }

  function showShelf() {
    const focused = document.activeElement?.dataset.key;
    shelf.replaceChildren(...found.map((item) => choice(item, picked.includes(String(item.item_id)), toggle)));
    if (focused) shelf.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  async function take(event) {
    if (event.key === "ArrowDown") shelf.querySelector("[data-row]")?.focus();
    const id = field.value.trim();
    if (event.key !== "Enter" || !id) return;
    await finding;
    toggle(found.length ? String(found[0].item_id) : id);
    field.value = "";
    finding = find();
  }
}

const chip = (name, remove) =>
  h(
    "button",
    { class: "chip picked", type: "button", onclick: remove, "aria-label": `Remove ${name}` },
    name,
    h("span", { "aria-hidden": "true" }, "×"),
  );

function choice(item, on, toggle) {
  const id = String(item.item_id);
  const attributes = { class: "row pick", type: "button", "aria-pressed": String(on), onclick: () => toggle(id) };
  return h(
    "li",
    {},
    h(
      "button",
      { ...attributes, "data-row": true, "data-key": `pick ${id}` },
      h("span", { class: "tick", "aria-hidden": "true" }, on ? "✓" : "+"),
      h("span", { class: "name" }, named(item), item.title && h("small", {}, id)),
    ),
  );
}

export const unknownOf = ({ unknown_items: ids }) =>
  ids.length ? h("p", { class: "note" }, `The model does not know ${ids.join(", ")}.`) : "";

// An item's own id comes first of all that begin with it.
async function nameAll(ids) {
  const unnamed = ids.filter((id) => !titles.has(id));
  const answers = await Promise.allSettled(unnamed.map((id) => api.findItems(id, 1)));
  learn(answers.flatMap((answer) => answer.value?.items ?? []));
}
