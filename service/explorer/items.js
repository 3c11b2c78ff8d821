// The views of items: similar items and the audience of one, and popular items.

import * as api from "./api.js";
import { count, h, score, section } from "./dom.js";
import { filtered, filters } from "./filters.js";
import { shareOfBest } from "./live.js";
import { growing, link, list, row } from "./lists.js";
import { problemIn } from "./problems.js";

const STEP = 20;
const ALIKE = 12;

export async function item(id) {
  const [similar, audience, known] = await Promise.allSettled([
    api.similarItems(id, ALIKE),
    api.audience(id, ALIKE, 0),
    api.item(id),
  ]);
  if (similar.status === "rejected") throw similar.reason;
  const answer = similar.value;
  const make = (other, place) =>
    row(other, place, { share: other.score, number: score(other.score), key: `like ${other.item_id}` });
  const title = h(
    "header",
    { class: "title" },
    h("p", { class: "over" }, "Item"),
    h("h1", {}, answer.title ?? id),
    answer.title && h("p", { class: "mono note" }, id),
    known.value?.available === false && h("p", { class: "unavailable" }, "Unavailable: it is not recommended to anybody."),
    h("a", { class: "button quiet", href: link("new", id) }, "Try with a new user"),
  );
  return h(
    "article",
    {},
    title,
    attributes(known),
    h(
      "div",
      { class: "columns" },
      section("Similar items", "Liked by the same people, by cosine similarity.", list(answer.items, make)),
      audienceOf(id, audience),
    ),
  );
}

function attributes(known) {
  if (known.status === "rejected") return section("In the catalog", null, problemIn(known.reason));
  const facts = Object.entries(known.value.attributes);
  if (!facts.length) return null;
  const parts = facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, [value].flat().map(written).join(", "))]);
  return section("In the catalog", null, h("dl", { class: "facts" }, parts));
}

const written = (value) => (typeof value === "boolean" ? (value ? "yes" : "no") : String(value));

function audienceOf(id, audience) {
  if (audience.status === "rejected") return section("Audience", null, problemIn(audience.reason));
  const make = (one, place) =>
    row(one, place, { share: shareOfBest(one.score), number: score(one.score), key: `audience ${one.user_id}` });
  const more = async (n, offset) => (await api.audience(id, n, offset)).users;
  return section(
    "Audience",
    "Users with the highest scores, without those who had it.",
    growing(audience.value.users, ALIKE, more, make, "Everybody has had it."),
  );
}

export async function popular(filter) {
  const { answer, refused } = await filtered((wanted) => api.popular(STEP, 0, wanted), filter);
  const result = h("div", {}, mostPopular(answer.items, refused ? "" : filter));
  const narrowed = async (now) => {
    history.replaceState(null, "", "#" + new URLSearchParams([["popular", ""], ...(now ? [["filter", now]] : [])]));
    result.replaceChildren(mostPopular((await api.popular(STEP, 0, now)).items, now));
  };
  return h(
    "article",
    {},
    h("header", { class: "title" }, h("h1", {}, "Popular items")),
    section("By number of users", "Unknown users get these.", filters(filter, refused, narrowed), result),
  );
}

function mostPopular(items, filter) {
  const most = items[0]?.score || 1;
  const make = (one, place) =>
    row(one, place, { share: one.score / most, number: count(one.score), key: `popular ${one.item_id}` });
  const more = async (n, offset) => (await api.popular(n, offset, filter)).items;
  return growing(items, STEP, more, make, "There are no such items.");
}
