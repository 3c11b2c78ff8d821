// The view for a new user: pick their items and see the model's recommendations at once.

import * as api from "./api.js";
import { empty, h, score, section } from "./dom.js";
import { shareOfBest } from "./live.js";
import { list, named, row, walk } from "./lists.js";
import { problemIn } from "./problems.js";

const SHOWN = 14;
const RECOMMENDED = 12;
const KNOWN = 1000;

const titles = new Map(); // of all items shown so far, so that picked items keep their names

export async function newcomer(picked) {
  const { items: known } = await api.popular(KNOWN, 0).catch(none);
  learn(known);
  const basket = h("ul", { class: "chips", "aria-label": "Picked" });
  const shelf = h("ol", { class: "rows shelf", onkeydown: walk, "aria-label": "Items to pick" });
  const result = h("div", { "aria-live": "polite" });
  const filter = h("input", {
    type: "search",
    placeholder: "Filter by title or id",
    "aria-label": "Filter items by title or id",
    autocomplete: "off",
    spellcheck: "false",
    oninput: showShelf,
    onkeydown: take,
  });
  let asking = new AbortController();

  const node = h(
    "article",
    {},
    h("header", { class: "title" }, h("p", { class: "over" }, "New user"), h("h1", {}, "What did they have?")),
    h(
      "div",
      { class: "columns" },
      section("Pick some items", null, filter, basket, shelf),
      section("Recommendations", "Updated with every pick.", result),
    ),
  );
  showAll();
  await recommend();
  return { node, refresh: recommend };

  function toggle(id) {
    picked = picked.includes(id) ? picked.filter((other) => other !== id) : [...picked, id];
    history.replaceState(
      null,
      "",
      "#" + new URLSearchParams(picked.length ? picked.map((one) => ["new", one]) : [["new", ""]]),
    );
    showAll();
    return recommend();
  }

  function showAll() {
    showBasket();
    showShelf();
  }

  function showBasket() {
    basket.replaceChildren(
      ...picked.map((id) =>
        h(
          "li",
          {},
          h(
            "button",
            {
              class: "chip picked",
              type: "button",
              onclick: () => toggle(id),
              "aria-label": `Remove ${titles.get(id) ?? id}`,
            },
            titles.get(id) ?? id,
            h("span", { "aria-hidden": "true" }, "×"),
          ),
        ),
      ),
    );
  }

  function showShelf() {
    const words = filter.value.trim().toLowerCase();
    const focused = document.activeElement?.dataset.key;
    const found = known
      .filter((item) => `${item.title ?? ""} ${item.item_id}`.toLowerCase().includes(words))
      .slice(0, SHOWN);
    shelf.replaceChildren(...found.map(choice));
    if (!known.length) shelf.append(h("li", {}, empty("Type an item's id and press Enter.")));
    else if (!found.length)
      shelf.append(h("li", {}, empty(`No match among the ${known.length} most popular items. Press Enter to use this as an id.`)));
    if (focused) shelf.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  function choice(item) {
    const id = String(item.item_id);
    const on = picked.includes(id);
    return h(
      "li",
      {},
      h(
        "button",
        {
          class: "row pick",
          type: "button",
          "aria-pressed": String(on),
          "data-row": true,
          "data-key": `pick ${id}`,
          onclick: () => toggle(id),
        },
        h("span", { class: "tick", "aria-hidden": "true" }, on ? "✓" : "+"),
        h("span", { class: "name" }, named(item), item.title && h("small", {}, id)),
      ),
    );
  }

  function take(event) {
    if (event.key === "ArrowDown") shelf.querySelector("[data-row]")?.focus();
    if (event.key !== "Enter" || !filter.value.trim()) return;
    const first = shelf.querySelector("[data-row]");
    first ? first.click() : toggle(filter.value.trim());
    filter.value = "";
    showShelf();
  }

  async function recommend() {
    asking.abort();
    asking = new AbortController();
    if (!picked.length) return result.replaceChildren(empty("Nothing yet: pick an item."));
    try {
      const answer = await api.forNewcomer(picked, RECOMMENDED, asking.signal);
      learn(answer.items);
      result.replaceChildren(...shown(answer));
    } catch (problem) {
      if (problem.name !== "AbortError") result.replaceChildren(problemIn(problem));
    }
  }
}

function shown({ strategy, items, unknown_items: unknown }) {
  const most = items[0]?.score || 1;
  const share = (item) => (strategy === "popular" ? item.score / most : shareOfBest(item.score));
  const make = (item, place) =>
    row(item, place, { share: share(item), number: score(item.score), key: `new ${item.item_id}` });
  return [
    unknown.length ? h("p", { class: "note" }, `The model does not know ${unknown.join(", ")}.`) : "",
    list(items, make),
  ];
}

// Without popularity, or if the server's limit is lower, items are picked by their ids.
function none(problem) {
  if (problem.code === "no_seen_items" || problem.code === "bad_parameter") return { items: [] };
  throw problem;
}

function learn(items) {
  for (const item of items) if (item.title) titles.set(String(item.item_id), item.title);
}
