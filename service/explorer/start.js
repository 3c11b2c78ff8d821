// The start page: some users, the model, and popular items.

import * as api from "./api.js";
import { byId, count, counted, empty, h, moment, section } from "./dom.js";
import { model } from "./live.js";
import { link, list, row } from "./lists.js";
import { problemIn } from "./problems.js";

const LISTED = 10;
const DEEPEST = 10000; // the API's largest offset

export async function start() {
  const liked = await api.popular(8, 0).catch(() => ({ items: [] }));
  const people = await Promise.all(Array.from({ length: LISTED }, anybody)).catch(unlessNotPermitted);
  return h(
    "article",
    {},
    h(
      "header",
      { class: "hero" },
      h("h1", {}, "What should they see?"),
      h("p", {}, "Explore what the model recommends, to whom, and why."),
      h(
        "p",
        { class: "links" },
        h("button", { type: "button", class: "button", onclick: surprise }, "Surprise me"),
        h(
          "button",
          { type: "button", class: "button quiet", onclick: () => byId("search").focus() },
          "Find a user or an item ",
          h("kbd", {}, "/"),
        ),
      ),
    ),
    h(
      "div",
      { class: "columns" },
      h("div", { class: "stack" }, someOf(people), served()),
      likedByMost(liked.items),
    ),
  );
}

async function anybody() {
  const offset = Math.floor(Math.random() * Math.min(model?.users ?? 1, DEEPEST));
  return (await api.users(1, offset, "")).users[0];
}

// Who may not see users can still see items.
function unlessNotPermitted(problem) {
  if (problem.code !== "insufficient_scope") throw problem;
  return problem;
}

export async function surprise() {
  const user = await anybody().catch(() => undefined);
  if (user !== undefined) location.hash = link("user", user);
}

function someOf(users) {
  if (users instanceof api.Problem) return section("Some users", null, problemIn(users));
  const chips = [...new Set(users)].map((user) => h("li", {}, h("a", { class: "chip", href: link("user", user) }, String(user))));
  return section("Some users", null, h("ul", { class: "chips" }, chips));
}

function served() {
  if (!model?.model_version) return null;
  const facts = [counted(model.users, "user"), counted(model.items, "item"), counted(model.factors, "factor")].join(
    ", ",
  );
  return section(
    "The model",
    null,
    h("p", {}, facts, "."),
    h("p", { class: "note" }, `Served since ${moment(model.loaded_at)}.`),
    h("p", { class: "links" }, h("a", { href: "#model=" }, "More about the model")),
  );
}

function likedByMost(items) {
  const most = items[0]?.score || 1;
  const make = (item, place) =>
    row(item, place, { share: item.score / most, number: count(item.score), key: `popular ${item.item_id}` });
  return section(
    "Popular items",
    null,
    items.length ? list(items, make) : empty("The model has no popularity."),
  );
}
