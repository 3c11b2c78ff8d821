// The view of one user: seen items, recommendations, and explanations.

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
      h("button", { type: "button", class: "button quiet", onclick: surprise }, "Another user"),
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
    "The model learnt from these.",
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
  const note = popular ? "Popular items, because the model has no factors." : "Best first. Open one to see why.";
  return section("Recommended", note, growing(answer.items, STEP, more, make, "This user has seen everything."));
}

async function why(id, item) {
  const further = h(
    "p",
    { class: "links" },
    h("a", { href: link("item", item.item_id) }, "Similar items"),
    h("a", { href: link("new", item.item_id) }, "Try with a new user"),
  );
  try {
    const { items, score: total } = await api.explanation(id, item.item_id, REASONS);
    if (!items.length) return h("div", {}, empty("None of the seen items contributes to this score."), further);
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
      h("h3", {}, "Because of these items", h("span", {}, `${score(total)} in total`)),
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
  const note = `${counted(people.length, "user")} with the closest taste, by cosine similarity.`;
  return section(
    "Similar users",
    note,
    people.length ? h("ul", { class: "chips" }, people) : empty("There are no similar users."),
  );
}
