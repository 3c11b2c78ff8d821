// What a user should see, and how that changes with what they have now.

import * as api from "./api.js";
import { counted, h, score, section } from "./dom.js";
import { filters } from "./filters.js";
import { sharesOf } from "./live.js";
import { list, row } from "./lists.js";
import { moved, placeIn } from "./moves.js";
import { learn, picker, unknownOf } from "./picker.js";
import { problemIn } from "./problems.js";

export const STEP = 12;
const LABEL = "What if they now had…";

// usualOf(answer, filter) is the note and the list of an answer without a session, such as the first one; keep is called
// after each change of what is picked (also) and of the filter. refused: why the first answer is without the filter.
export function recommended(id, usualOf, first, { also, filter, refused }, keep) {
  let narrowing = refused ? "" : filter; // of the list, unlike a filter that was refused
  let usual = usualOf(first, narrowing);
  let before = first.items;
  const note = h("p", { class: "note", role: "status" }, usual.note);
  const result = h("div", {}, usual.list);
  let asking = new AbortController();
  if (also.length) recommend();
  const picks = picker(also, { label: LABEL, idle: async () => [], changed: (now) => (keepAll(now, filter), recommend()) });
  return section("Recommended", null, picks, filters(filter, refused, narrow), note, result);

  function keepAll(...now) {
    [also, filter] = now;
    keep({ also, filter });
  }

  async function narrow(text) {
    keepAll(also, text);
    const answer = await api.recommendations(id, STEP, 0, text);
    if (text !== filter) return;
    [narrowing, usual, before] = [text, usualOf(answer, text), answer.items];
    await recommend();
  }

  async function recommend() {
    asking.abort();
    asking = new AbortController();
    if (!also.length) return show(usual.note, usual.list);
    try {
      const answer = await api.inSession(id, also, STEP, narrowing, asking.signal);
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
