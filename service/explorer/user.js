// One user: what they had and what they should see, side by side, and why.

import * as api from "./api.js";
import { counted, empty, h, score, section } from "./dom.js";
import { shareOfBest } from "./live.js";
import { growing, link, list, row, signed } from "./lists.js";
import { problemIn } from "./problems.js";
import { surprise } from "./start.js";

const STEP = 12;
const REASONS = 6;

export async function user(id) {
  const [had, wanted, alike] = await Promise.allSettled([
    api.itemsOf(id, STEP, 0),
    api.recommendations(id, STEP, 0),
    api.similarUsers(id, 8),
  ]);
  if (wanted.status === "rejected") throw wanted.reason;
  return h(
    "article",
    {},
    h(
      "header",
      { class: "title" },
      h("p", { class: "over" }, "User"),
      h("h1", {}, id),
      h("button", { type: "button", class: "button quiet", onclick: surprise }, "Somebody else"),
    ),
    h("div", { class: "columns uneven" }, hadBy(id, had), wantedBy(id, wanted.value)),
    likeThem(alike),
  );
}

function hadBy(id, had) {
  if (had.status === "rejected") return section("Already had", null, problemIn(had.reason));
  const make = (item, place) =>
    row(item, place, { number: item.weight === 1 ? "" : `× ${+item.weight.toFixed(2)}`, key: `had ${item.item_id}` });
  const more = async (n, offset) => (await api.itemsOf(id, n, offset)).items;
  return section(
    "Already had",
    "What the model learnt about them from.",
    growing(had.value.items, STEP, more, make, "Nothing yet."),
  );
}

function wantedBy(id, answer) {
  const popular = answer.strategy === "popular";
  const most = answer.items[0]?.score || 1;
  const make = (item, place) =>
    row(item, place, {
      share: popular ? item.score / most : shareOfBest(item.score),
      number: score(item.score),
      key: `wanted ${item.item_id}`,
      open: popular ? undefined : () => why(id, item),
    });
  const more = async (n, offset) => (await api.recommendations(id, n, offset)).items;
  const note = popular ? "What is popular: the model has no factors for now." : "Best first. Open one to see why.";
  return section("Recommended", note, growing(answer.items, STEP, more, make, "They have had everything."));
}

async function why(id, item) {
  const further = h(
    "p",
    { class: "links" },
    h("a", { href: link("item", item.item_id) }, "Items like this"),
    h("a", { href: link("new", item.item_id) }, "Try it on someone new"),
  );
  try {
    const { items, score: total } = await api.explanation(id, item.item_id, REASONS);
    if (!items.length) return h("div", {}, empty("Nothing they had speaks for it."), further);
    const most = Math.max(...items.map((reason) => Math.abs(reason.score)));
    const make = (reason, place) =>
      row(reason, place, {
        share: reason.score / most,
        number: signed(reason.score),
        key: `why ${item.item_id} ${reason.item_id}`,
      });
    return h(
      "div",
      {},
      h("h3", {}, "Because they had these", h("span", {}, `${score(total)} in all`)),
      list(items, make),
      further,
    );
  } catch (problem) {
    return h("div", {}, problemIn(problem), further);
  }
}

function likeThem(alike) {
  if (alike.status === "rejected") return section("Similar users", null, problemIn(alike.reason));
  const people = alike.value.users.map((other) =>
    h(
      "li",
      {},
      h(
        "a",
        { class: "chip", href: link("user", other.user_id) },
        String(other.user_id),
        h("small", {}, score(other.score)),
      ),
    ),
  );
  const note = `${counted(people.length, "user")} whose taste is closest, by cosine.`;
  return section(
    "Similar users",
    note,
    people.length ? h("ul", { class: "chips" }, people) : empty("There is nobody else."),
  );
}
