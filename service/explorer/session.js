// What a user did just now: pick items, and see how the recommendations change.

import * as api from "./api.js";
import { h, score, section } from "./dom.js";
import { sharesOf } from "./live.js";
import { list, row } from "./lists.js";
import { learn, picker, unknownOf } from "./picker.js";
import { problemIn } from "./problems.js";

const NOTE = "Pick items, and see how the recommendations change. Nothing is stored.";

// usual: what is shown without a session, and before: its first items; keep(picked) is told every change.
export function session(id, usual, before, picked, keep) {
  const result = h("div", { "aria-live": "polite" }, usual);
  let asking = new AbortController();
  if (picked.length) recommend(picked);
  const change = (now) => (keep(now), recommend(now));
  const picks = picker(picked, { idle: async () => [], changed: change });
  return h("div", { class: "stack" }, section("Now they also have", NOTE, picks), result);

  async function recommend(now) {
    asking.abort();
    asking = new AbortController();
    if (!now.length) return result.replaceChildren(usual);
    try {
      const answer = await api.inSession(id, now, before.length, asking.signal);
      learn(answer.items);
      result.replaceChildren(changed(answer, before));
    } catch (problem) {
      if (problem.name !== "AbortError") result.replaceChildren(section("Recommended", null, problemIn(problem)));
    }
  }
}

function changed(answer, before) {
  const share = sharesOf(answer);
  const make = (item, place) =>
    row(item, place, {
      share: share(item),
      number: score(item.score),
      key: `now ${item.item_id}`,
      hint: moved(before.findIndex((other) => other.item_id === item.item_id) + 1, place),
    });
  return section("Recommended now", "Compared with the list without what they have now.", unknownOf(answer), list(answer.items, make));
}

function moved(before, place) {
  if (!before) return h("small", { class: "up" }, "new in the list");
  if (before === place) return h("small", {}, "as before");
  return before > place
    ? h("small", { class: "up" }, `up ${before - place}`)
    : h("small", { class: "down" }, `down ${place - before}`);
}
