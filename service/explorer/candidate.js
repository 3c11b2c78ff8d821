// The candidate: a second model, which a part of the users gets; and its recommendations next to the served model's.

import * as api from "./api.js";
import { count, empty, h, moment, score, section } from "./dom.js";
import { model, shareOfBest } from "./live.js";
import { list, row } from "./lists.js";
import { moved, placeIn, summary } from "./moves.js";
import { problemIn, refusal } from "./problems.js";

const TOP = 12;
const ARMS = { served: "the served model", candidate: "the candidate" };
const TITLES = { served: "Served", candidate: "Candidate" };

// Who is asked for, with the arm if there is a candidate.
export const whose = (answer) => (answer.arm ? `User, who gets ${ARMS[answer.arm]}` : "User");

export function candidate({ candidate: tried }) {
  if (!tried) return null;
  const { last_reload: last } = tried;
  const refused = last?.outcome === "rejected" && h("p", { class: "refusal" }, h("b", {}, refusal(last.reason)), ". ", last.detail);
  if (!tried.model_version) return section("Candidate", "A second model for a part of the users.", refused || empty("There is none."));
  const facts = [
    ["version", h("span", { class: "mono" }, tried.model_version)],
    ["experiment", tried.experiment],
    ["since", moment(tried.loaded_at)],
    ["model", `${count(tried.users)} users, ${count(tried.items)} items, ${count(tried.factors)} factors`],
    ...(tried.shadow ? [["in the background", `${+(100 * tried.shadow).toFixed(1)}% of requests`]] : []),
  ];
  return section(
    "Candidate",
    `${+tried.percent.toFixed(2)}% of users get it, the others the served model.`,
    h("div", { class: "bar", share: tried.percent / 100 }, h("i")),
    h("dl", { class: "facts" }, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    refused,
  );
}

// Both models' recommendations to one user, whichever of the two the user gets; nothing without a candidate.
export async function sideBySide(id) {
  const tried = model?.candidate?.model_version;
  if (!tried) return null;
  const [before, now] = await Promise.all([of(id, model.model_version), of(id, tried)]);
  const failed = [before, now].find((answer) => answer instanceof Error);
  if (failed) return section("Served and candidate", null, problemIn(failed));
  const gone = (item) => !placeIn(now, item) && h("small", { class: "unavailable" }, "gone");
  return section(
    "Served and candidate",
    `With the candidate: ${summary(before, now)}. The bars compare within a list: each model has a scale of its own.`,
    h(
      "div",
      { class: "columns" },
      listed("served", before, gone),
      listed("candidate", now, (item, place) => moved(placeIn(before, item), place)),
    ),
  );
}

const of = (id, version) =>
  api.recommendations(id, TOP, 0, "", version).then(({ items }) => items, (problem) => problem);

function listed(arm, items, hintOf) {
  const make = (item, place) =>
    row(item, place, {
      share: shareOfBest(item.score, arm),
      number: score(item.score),
      key: `${arm} ${item.item_id}`,
      hint: hintOf(item, place) || undefined,
    });
  return h("div", {}, h("h3", {}, TITLES[arm]), items.length ? list(items, make) : empty("Nothing."));
}
