// The last reloads as a table, and what gates found when they compared one of the models with the one before it.

import { h, seconds, section, time } from "./dom.js";
import { refusal } from "./problems.js";

const OUTCOMES = { swapped: "Served", unchanged: "Served already", postponed: "Postponed" };

const percent = (value) => `${+(100 * value).toFixed(1)}%`;
const deviations = (value) => `${+value.toFixed(2)} σ`;
const GATES = {
  counts: { title: "Users and items, compared in number", written: percent, bound: "at least" },
  factors: { title: "Users and items with factors of their own", written: percent, bound: "at least" },
  scores: { title: "Shift of the scores", written: deviations, bound: "at most" },
  overlap: { title: "Items in common in the top 10", written: percent, bound: "at least" },
  golden: { title: "Golden requests answered as expected", written: percent, bound: "at least" },
};

// chosen: when the compared model's reload ended, or null for the last one that has gates; choose(that moment) is called
// with another.
export function reloads(now, chosen, choose) {
  const { reloads: all } = now;
  if (!all.length) return [];
  const gated = all.filter((reload) => reload.gates.length);
  const shown = gated.find((reload) => reload.finished_at === chosen) ?? gated[0];
  return [
    section(
      "Reloads",
      "The last ten attempts to serve the file at the model path, the latest first.",
      table(
        "reloads",
        ["When", "Version", "Outcome", "Gates"],
        all.map((reload) => attempt(reload, reload === shown, choose)),
      ),
    ),
    shown && comparison(shown, against(now, shown)),
  ];
}

const table = (kind, heads, rows) =>
  h(
    "table",
    { class: kind },
    h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
    h("tbody", {}, rows),
  );

function attempt(reload, isShown, choose) {
  const took = Object.values(reload.seconds).reduce((sum, value) => sum + value, 0);
  return h(
    "tr",
    { class: reload.outcome },
    h("td", {}, time(reload.finished_at)),
    h("td", { class: "mono" }, reload.version?.slice(0, 8)),
    h(
      "td",
      {},
      h("b", {}, OUTCOMES[reload.outcome] ?? refusal(reload.reason)),
      reload.outcome === "swapped" && ` after ${seconds(took)}`,
      reload.detail && h("small", {}, reload.detail),
    ),
    h(
      "td",
      {},
      reload.gates.length > 0 &&
        h(
          "button",
          {
            type: "button",
            class: isShown ? "chip picked" : "chip",
            "aria-pressed": String(isShown),
            "data-key": `gates ${reload.finished_at}`,
            onclick: () => choose(reload.finished_at),
          },
          summary(reload.gates),
        ),
    ),
  );
}

function summary(gates) {
  const failed = gates.filter(({ result }) => result !== "passed");
  return failed.length
    ? failed.map(({ gate, result }) => `${gate} ${result}`).join(", ")
    : `${gates.length} passed`;
}

// The versions that this server has put into service, the latest first.
export const served = (now) =>
  now.model_version
    ? [{ version: now.model_version, loaded_at: now.loaded_at }, ...now.earlier_versions]
    : now.earlier_versions;

// What was served when a reload ended, if that is still known; else a process before this one served it.
const against = (now, reload) =>
  served(now).find(
    ({ version, loaded_at }) =>
      version !== reload.version && Date.parse(loaded_at) < Date.parse(reload.finished_at),
  )?.version;

function comparison(reload, other) {
  const version = (text) => h("b", { class: "mono" }, text);
  return section(
    "Compared by gates",
    h("span", {}, version(reload.version), other ? [" with ", version(other)] : ", the first since the start"),
    table(
      "gates",
      ["Gate", "Result", "Found", "Limit"],
      reload.gates.map(gateRow),
    ),
  );
}

function gateRow({ gate, result, value, limit, detail }) {
  const { title, written, bound } = GATES[gate];
  return h(
    "tr",
    { class: result },
    h("td", {}, h("b", {}, title), detail && h("small", {}, detail)),
    h("td", {}, h("span", { class: "result" }, result)),
    h("td", {}, value === null ? "–" : written(value)),
    h("td", {}, limit === null ? "–" : `${bound} ${written(limit)}`),
  );
}
