// The state of the model, polled every two seconds, and events for what changed.

import * as api from "./api.js";

const EVERY_MS = 2000;
const bus = new EventTarget();

export let model = null;

export const on = (event, listener) => bus.addEventListener(event, (happened) => listener(happened.detail));
const tell = (event, detail) => bus.dispatchEvent(new CustomEvent(event, { detail }));

let reachable = true;

export async function follow() {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    if (!document.hidden) await look();
  }
}

export async function look() {
  try {
    const before = model;
    model = await api.model();
    if (!reachable) tell("back");
    reachable = true;
    if (before) compare(before, model);
    tell("model", model);
  } catch (problem) {
    if (reachable) tell("gone", problem);
    reachable = false;
  }
}

function compare(before, now) {
  if (now.model_version !== before.model_version) tell("swap", { version: now.model_version });
  const last = now.last_reload;
  if (last?.outcome === "rejected" && last.finished_at !== before.last_reload?.finished_at)
    tell("rejected", { reason: last.reason, detail: last.detail });
}

// A score as a share of the best recommendation to anyone by the model of an arm, so that bars start at zero and compare
// across users. Two models' scores do not compare.
export function shareOfBest(score, arm) {
  const scale = arm === "candidate" ? model?.candidate : model;
  const best = scale?.score_ranges?.recommendation.p99;
  return best > 0 ? Math.min(1, Math.max(-1, score / best)) : 0;
}

// The share of each of these recommendations; popular items have numbers of users.
export function sharesOf({ strategy, items, arm }) {
  const most = items[0]?.score || 1;
  return (item) => (strategy === "popular" ? item.score / most : shareOfBest(item.score, arm));
}
