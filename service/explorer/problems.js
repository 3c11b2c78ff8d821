// Error messages.

import { h } from "./dom.js";
import { model } from "./live.js";
import { forget } from "./token.js";

const HEADLINES = {
  unknown_user: "Unknown user",
  unknown_item: "Unknown item",
  not_ready: "No model yet",
  limited_model: "Popular items only",
  no_seen_items: "Not in this model",
  unreachable: "No connection to the server",
  overloaded: "The server is busy",
  no_token: "A token is needed",
  invalid_token: "Unknown token",
  insufficient_scope: "Not permitted",
};

const WAITING = "No model is served yet; this page shows it as soon as one is.";

const REFUSALS = {
  file_missing: "The model file is missing",
  quarantined: "A model is quarantined",
  pinned: "Another version is pinned",
};

// A model file that is gone is not a file that was rejected, and a model that is kept out is not a broken one.
export const refusal = (reason) =>
  REFUSALS[reason] ?? (reason.startsWith("gate") ? "A gate blocked a new model" : "A new file was rejected");

// Why there is no model is known to /v1/model alone.
const told = ({ code, message }) =>
  code === "not_ready" && model ? [model.last_reload?.detail, WAITING].filter(Boolean).join(" ") : message;

export const problemIn = (problem) => h("p", { class: "empty" }, problem.message, " ", otherToken(problem, "chip"));

const otherToken = ({ code }, look) =>
  code === "insufficient_scope" && h("button", { type: "button", class: look, onclick: forget }, "Use another token");

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
    h("p", {}, told(problem)),
    h(
      "p",
      { class: "links" },
      h("button", { type: "button", class: "button", onclick: again }, "Try again"),
      otherToken(problem, "button quiet"),
      h("a", { href: "#" }, "Start over"),
    ),
    h("p", { class: "mono" }, facts.join(" · ")),
  );
}
