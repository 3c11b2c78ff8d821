// What a user should see, and how that changes with what they have now.

import * as api from "./api.js";
import { counted, h, score, section } from "./dom.js";
import { sharesOf } from "./live.js";
import { list, row } from "./lists.js";
import { learn, picker, unknownOf } from "./picker.js";
import { problemIn } from "./problems.js";

const LABEL = "What if they now had…";

// usual: the note and the list without a session, and before: the first items of that; keep(picked) is told each change.
export function recommended(id, usual, before, picked, keep) {
  const note = h("p", { class: "note", role: "status" }, usual.note);
  const result = h("div", {}, usual.list);
  let asking = new AbortController();
  if (picked.length) recommend(picked);
  const changed = (now) => (keep(now), recommend(now));
  const picks = picker(picked, { label: LABEL, idle: async () => [], changed });
  return section("Recommended", null, picks, note, result);

  async function recommend(now) {
    asking.abort();
    asking = new AbortController();
    if (!now.length) return show(usual.note, usual.list);
    try {
      const answer = await api.inSession(id, now, before.length, asking.signal);
      learn(answer.items);
      show(compared(answer.items, before), unknownOf(answer), list(answer.items, rowOf(answer, before)));
    } catch (problem) {
      if (problem.name !== "AbortError") show("", problemIn(problem));
    }
  }

  function show(text, ...shown) {
    note.textContent = text;
    result.replaceChildren(...shown);
  }
}

const placeIn = (items, item) => items.findIndex((other) => other.item_id === item.item_id) + 1;

function compared(items, before) {
  const fresh = items.filter((item) => !placeIn(before, item)).length;
  return `Compared with the list without these: ${counted(fresh, "new item")}.`;
}

function rowOf(answer, before) {
  const share = sharesOf(answer);
  return (item, place) =>
    row(item, place, {
      share: share(item),
      number: score(item.score),
      key: `now ${item.item_id}`,
      hint: moved(placeIn(before, item), place),
    });
}

function moved(before, place) {
  if (!before) return h("small", { class: "up" }, "new in the list");
  if (before === place) return h("small", {}, "as before");
  return before > place
    ? h("small", { class: "up" }, `up ${before - place}`)
    : h("small", {}, `down ${place - before}`);
}
