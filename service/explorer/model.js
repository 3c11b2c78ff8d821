// The view of the served model: its facts, origin and history.

import * as api from "./api.js";
import { candidate } from "./candidate.js";
import { phases, ranges } from "./charts.js";
import { bytes, count, empty, h, moment, renew, section, time } from "./dom.js";
import { model as latest } from "./live.js";
import { refusal } from "./problems.js";
import { reloads, served } from "./reloads.js";

const STATES = {
  ready: "Serving the newest model",
  stale: "Serving the last good model",
  limited: "Serving popular items only",
  training: "Training a model",
  loading: "Waiting for a model",
};

export async function model() {
  const node = h("article", {});
  let chosen = null; // the reload whose gates are shown, by when it ended
  let told = "";
  const follow = (now) => {
    const text = JSON.stringify([now, chosen]);
    if (text !== told) renew(node, ...parts(now, chosen, choose));
    told = text;
  };
  const choose = (reload) => {
    chosen = reload;
    follow(latest);
  };
  follow(latest ?? (await api.model()));
  return { node, follow, refresh: () => {} };
}

function parts(now, chosen, choose) {
  return [
    title(now),
    rejection(now.last_reload),
    now.model_version && numbers(now),
    h(
      "div",
      { class: "columns" },
      now.load_seconds && section("Load time", "From the file to the first answer.", phases(now.load_seconds)),
      section("History", null, timeline(now)),
    ),
    candidate(now),
    ...reloads(now, chosen, choose),
    now.score_ranges &&
      section(
        "Score ranges",
        "Histograms; the boxes span the 1st to 99th percentile, with a line at the median and whiskers to the extremes.",
        ranges(now.score_ranges),
      ),
    source(now),
  ].filter(Boolean);
}

function title(now) {
  const training =
    now.training?.outcome === "running" && `${now.training.phase} ${now.training.done}/${now.training.total}`;
  return h(
    "header",
    { class: "title" },
    h("p", { class: `over state ${now.state}` }, STATES[now.state] ?? now.state),
    h("h1", { class: "mono" }, now.model_version ?? "no model"),
    h("p", {}, now.loaded_at ? `Since ${moment(now.loaded_at)}` : training || "The log says what the server is waiting for."),
  );
}

function rejection(last) {
  if (last?.outcome !== "rejected") return null;
  return h(
    "section",
    { class: "card refused" },
    h("h2", {}, refusal(last.reason)),
    h("p", {}, last.detail),
    h("p", { class: "mono" }, last.reason, last.version && ` · ${last.version}`, " · ", time(last.finished_at)),
  );
}

function numbers(now) {
  const facts = [
    ["users", now.users],
    ["items", now.items],
    ["factors", now.factors],
    ["pairs seen", now.seen_pairs],
  ].filter(([, value]) => value !== null);
  const cells = facts.map(([name, value]) => h("div", {}, h("dd", {}, count(value)), h("dt", {}, name)));
  return h(
    "dl",
    { class: "numbers" },
    cells,
    h("div", {}, h("dd", {}, bytes(now.bytes)), h("dt", {}, "snapshot")),
  );
}

function timeline(now) {
  const refused = now.reloads.filter((reload) => reload.outcome === "rejected");
  const all = [
    ...served(now).map((one) => ({ event: "swap", version: one.version, at: one.loaded_at })),
    ...refused.map((one) => ({ event: "rejected", reason: one.reason, at: one.finished_at })),
  ];
  const entries = all.sort((one, other) => (one.at < other.at ? 1 : -1));
  return entries.length ? h("ol", { class: "timeline" }, entries.map(event)) : empty("Nothing yet.");
}

function event(entry, place, all) {
  const current = place === all.findIndex((other) => other.event === "swap");
  const what =
    entry.event === "swap"
      ? ["served ", h("b", { class: "mono" }, entry.version)]
      : [`${refusal(entry.reason)}: `, h("b", { class: "mono" }, entry.reason)];
  return h("li", { class: entry.event + (current ? " current" : "") }, time(entry.at), h("span", {}, what));
}

function source(now) {
  if (!now.source) return null;
  const facts = [
    ["file", now.source.path],
    ["format", `${now.source.format}, ${bytes(now.source.bytes)}`],
    ["modified", moment(now.source.modified_at)],
    ["sha256", now.source.sha256],
    ...(now.s3?.served ? [["from S3", `${now.s3.served.key} of ${now.s3.uri}`]] : []),
    ...made(now.trained),
  ];
  return section(
    "Origin",
    null,
    h(
      "dl",
      { class: "facts" },
      facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
    ),
  );
}

function made(trained) {
  if (!trained) return [];
  const { factors, iterations, regularization, alpha } = trained.parameters;
  const judged = trained.evaluation?.als;
  return [
    ["trained", moment(trained.trained_at)],
    ["learned from", `${count(trained.data.pairs)} pairs in ${trained.data.files.join(", ")}`],
    ["parameters", `${factors} factors, ${iterations} iterations, regularization ${regularization}, alpha ${alpha}`],
    ...(judged
      ? [
          [
            "evaluated",
            `recall ${judged.recall.toFixed(4)}, NDCG ${judged.ndcg.toFixed(4)} in the top ${trained.evaluation.k}`,
          ],
        ]
      : []),
  ];
}
