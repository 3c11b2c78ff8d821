// How one list of recommendations differs from another: what came, rose, fell and went.

import { counted, h } from "./dom.js";

export const placeIn = (items, item) => items.findIndex((other) => other.item_id === item.item_id) + 1;

// A hint for an item's row, by its places: before (0 if it was not in the list) and now.
export function moved(before, place) {
  if (!before) return h("small", { class: "up" }, "new in the list");
  if (before === place) return h("small", {}, "as before");
  return before > place
    ? h("small", { class: "up" }, `up ${before - place}`)
    : h("small", {}, `down ${place - before}`);
}

// Both lists have as many items as were asked for, or all that there are, so what came may be more than what went.
export function summary(before, now) {
  const places = now.map((item, place) => [placeIn(before, item), place + 1]);
  const came = places.filter(([old]) => !old).length;
  const rose = places.filter(([old, place]) => old > place).length;
  const fell = places.filter(([old, place]) => old && old < place).length;
  const went = before.filter((item) => !placeIn(now, item)).length;
  return `${counted(came, "new item")}, ${rose} up, ${fell} down, ${went} gone`;
}
