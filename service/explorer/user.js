// The view of one user: seen items, recommendations, and explanations.

import * as api from "./api.js";
import { sideBySide, whose } from "./candidate.js";
import { counted, empty, h, score, section } from "./dom.js";
import { filtered } from "./filters.js";
import { sharesOf } from "./live.js";
import { growing, link, list, row, signed } from "./lists.js";
import { problemIn } from "./problems.js";
import { recommended, STEP } from "./session.js";
import { surprise } from "./start.js";

const NO_MATCH = "No item that this user has not seen matches the filter.";
const SEEN_ALL = "This user has seen everything.";
const WANTED = "wanted "; // what the key of a recommendation's row begins with
const REASONS = 6;
const ROUNDING = 0.001; // of sums of float32; what differs by more was not trained to the end
const COUNTED = 20; // so many reasons are asked for, to say how many are not shown

export async function user(id, opened, also, filter) {
  const [had, wanted, alike, both] = await Promise.allSettled([
    api.itemsOf(id, STEP, 0),
    filtered((asked) => api.recommendations(id, STEP, 0, asked), filter),
    api.similarUsers(id, 8),
    sideBySide(id),
  ]);
  if (wanted.status === "rejected") throw wanted.reason;
  const keep = (now) => keepInAddress(id, node, (shown = now));
  const { answer, refused } = wanted.value;
  const usual = (found, narrowed) => wantedBy(id, found, narrowed);
  let shown = { also, filter };
  const node = h(
    "article",
    { onunfold: () => keep(shown) },
    h(
      "header",
      { class: "title" },
      h("p", { class: "over" }, whose(answer)),
      h("h1", {}, id),
      h("button", { type: "button", class: "button quiet", onclick: surprise }, "Another user"),
    ),
    h("div", { class: "columns uneven" }, hadBy(id, had), recommended(id, usual, answer, { ...shown, refused }, keep)),
    both.value,
    likeThem(alike),
  );
  for (const item of opened) node.querySelector(`[data-key="${CSS.escape(WANTED + item)}"]`)?.click();
  return node;
}

// What is unfolded or picked is part of the address, so that it can be sent to somebody, and stays when the model is swapped.
function keepInAddress(id, node, { also, filter }) {
  const unfolded = [...node.querySelectorAll("[aria-expanded=true]")].map((row) => row.dataset.key.slice(WANTED.length));
  const narrowed = filter ? [["filter", filter]] : [];
  const named = [["user", id], ...narrowed, ...also.map((item) => ["also", item]), ...unfolded.map((item) => ["why", item])];
  history.replaceState(null, "", "#" + new URLSearchParams(named));
}

function hadBy(id, had) {
  if (had.status === "rejected") return section("Already had", null, problemIn(had.reason));
  const make = (item, place) =>
    row(item, place, {
      number: item.weight === 1 ? "" : `× ${+item.weight.toFixed(2)}`,
      key: `had ${item.item_id}`,
      hint: item.available === false ? h("small", { class: "unavailable" }, "unavailable") : undefined,
    });
  const more = async (n, offset) => (await api.itemsOf(id, n, offset)).items;
  return section(
    "Already had",
    "The model learned from these.",
    growing(had.value.items, STEP, more, make, "Nothing yet."),
  );
}

function wantedBy(id, answer, filter) {
  const popular = answer.strategy === "popular";
  const share = sharesOf(answer);
  const make = (item, place) =>
    row(item, place, {
      share: share(item),
      number: score(item.score),
      key: WANTED + item.item_id,
      open: popular ? undefined : () => why(id, item),
    });
  const more = async (n, offset) => (await api.recommendations(id, n, offset, filter)).items;
  const note = popular ? "Popular items, because the model has no factors." : "Best first. Open one to see why.";
  return { note, list: growing(answer.items, STEP, more, make, filter ? NO_MATCH : SEEN_ALL) };
}

async function why(id, item) {
  const further = h(
    "p",
    { class: "links" },
    h("a", { href: link("item", item.item_id) }, "Similar items"),
    h("a", { href: link("new", item.item_id) }, "Try with a new user"),
  );
  try {
    const { items: known, score: total } = await api.explanation(id, item.item_id, COUNTED);
    const items = known.slice(0, REASONS);
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
      others(known, total),
      Math.abs(total - item.score) > ROUNDING * Math.abs(item.score) && h("p", { class: "note" }, whyNot(item.score)),
      further,
    );
  } catch (problem) {
    return h("div", {}, problemIn(problem), further);
  }
}

// What is not shown counts too, for it or against it: with this the numbers add up.
function others(known, total) {
  if (known.length <= REASONS) return null;
  const count = known.length < COUNTED ? `${known.length - REASONS} more` : "the others";
  const rest = total - known.slice(0, REASONS).reduce((sum, reason) => sum + reason.score, 0);
  return h("p", { class: "rest" }, `and ${count}`, h("span", {}, signed(rest)));
}

const whyNot = (listed) =>
  `The list shows ${score(listed)}, from the user's factors as training left them. An explanation ` +
  "recomputes the user's factors from the items they had, so its score is the sum of these.";

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
