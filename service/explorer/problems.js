// Error messages.

import { h } from "./dom.js";

const HEADLINES = {
  unknown_user: "Unknown user",
  unknown_item: "Unknown item",
  not_ready: "No model yet",
  limited_model: "Popular items only",
  no_seen_items: "Not in this model",
  unreachable: "No connection to the server",
  overloaded: "The server is busy",
};

export const problemIn = (problem) => h("p", { class: "empty" }, problem.message);

export function problemPage(problem, again) {
  const facts = [
    problem.status && `HTTP ${problem.status}`,
    problem.code,
    problem.requestId && `request ${problem.requestId}`,
  ].filter(Boolean);
  return h(
    "section",
    { class: "problem", role: "alert" },
    h("h1", {}, HEADLINES[problem.code] ?? "Something went wrong"),
    h("p", {}, problem.message),
    h(
      "p",
      { class: "links" },
      h("button", { type: "button", class: "button", onclick: again }, "Try again"),
      h("a", { href: "#" }, "Start over"),
    ),
    h("p", { class: "mono" }, facts.join(" · ")),
  );
}
