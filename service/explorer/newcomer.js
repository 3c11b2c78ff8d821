// The view for a new user: pick their items and see the model's recommendations at once.

import * as api from "./api.js";
import { empty, h, score, section } from "./dom.js";
import { sharesOf } from "./live.js";
import { list, row } from "./lists.js";
import { learn, picker, unknownOf } from "./picker.js";
import { problemIn } from "./problems.js";

const RECOMMENDED = 12;

export async function newcomer(picked) {
  const result = h("div", { "aria-live": "polite" });
  let asking = new AbortController();
  const node = h(
    "article",
    {},
    h("header", { class: "title" }, h("p", { class: "over" }, "New user"), h("h1", {}, "What did they have?")),
    h(
      "div",
      { class: "columns" },
      section("Pick some items", null, picker(picked, { label: "Find items", idle: mostPopular, changed: pick })),
      section("Recommendations", "Updated with every pick.", result),
    ),
  );
  await recommend();
  return { node, refresh: recommend };

  function pick(now) {
    picked = now;
    const named = picked.length ? picked.map((one) => ["new", one]) : [["new", ""]];
    history.replaceState(null, "", "#" + new URLSearchParams(named));
    return recommend();
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

function shown(answer) {
  const share = sharesOf(answer);
  const make = (item, place) =>
    row(item, place, { share: share(item), number: score(item.score), key: `new ${item.item_id}` });
  return [unknownOf(answer), list(answer.items, make)];
}

// Without popularity, the first items by id are as good as any.
async function mostPopular(n) {
  const answer = await api.popular(n, 0).catch((problem) => {
    if (problem.code !== "no_seen_items") throw problem;
    return api.findItems("", n);
  });
  return answer.items;
}
