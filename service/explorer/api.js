// A client of the public API: every answer parsed, every failure a Problem with a sentence for people.

import * as token from "./token.js";

export class Problem extends Error {
  constructor(detail, code, status = 0, requestId = "") {
    super(detail);
    Object.assign(this, { code, status, requestId });
  }
}

const TITLES = "titles=true";
const UNREACHABLE = "The server does not answer. It may be restarting; this page keeps trying.";

export const model = (signal) => get("v1/model", signal);
export const users = (n, offset, prefix, signal) =>
  get(`v1/users?n=${n}&offset=${offset}&prefix=${encodeURIComponent(prefix)}`, signal);
export const recommendations = (user, n, offset, filter, version) =>
  get(`${of("users", user)}/recommendations?n=${n}&offset=${offset}&fallback=none&${TITLES}${where(filter)}${from(version)}`);
export const itemsOf = (user, n, offset) => get(`${of("users", user)}/items?n=${n}&offset=${offset}&${TITLES}`);
export const explanation = (user, item, n) =>
  get(`${of("users", user)}/explanations/${segment(item)}?n=${n}&${TITLES}`);
export const similarUsers = (user, n) => get(`${of("users", user)}/similar?n=${n}`);
export const similarItems = (item, n) => get(`${of("items", item)}/similar?n=${n}&${TITLES}`);
export const popular = (n, offset, filter = "") =>
  get(`v1/items/popular?n=${n}&offset=${offset}&${TITLES}${where(filter)}`);
export const item = (item) => get(of("items", item));
export const audience = (item, n, offset) => get(`${of("items", item)}/users?n=${n}&offset=${offset}`);
export const findItems = (query, n, signal) => get(`v1/items?n=${n}&query=${encodeURIComponent(query)}`, signal);
export const forNewcomer = (items, n, signal) =>
  post("v1/recommendations/anonymous", { items: items.map(given), n, titles: true }, signal);
export const inSession = (user, items, n, filter, signal) =>
  post(
    `${of("users", user)}/recommendations`,
    { items: items.map(given), n, filter, titles: true, fallback: "none" },
    signal,
  );

const where = (filter) => (filter ? `&filter=${encodeURIComponent(filter)}` : "");
const from = (version) => (version ? `&model_version=${version}` : "");
const given = (item) => ({ item_id: item });

function post(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return ask(path, { method: "POST", body: JSON.stringify(body), headers, signal });
}

const get = (path, signal) => ask(path, { signal });
const of = (kind, id) => `v1/${kind}/${segment(id)}`;

function segment(id) {
  // A browser resolves these two even when they are percent-encoded.
  if (id === "." || id === "..")
    throw new Problem(`The id ${id} cannot be sent in a URL; use the POST forms of the API.`, "bad_parameter");
  return encodeURIComponent(id);
}

async function ask(path, options) {
  const sent = token.current();
  const response = await fetch(path, signed(options, sent)).catch((error) => {
    throw error.name === "AbortError" ? error : new Problem(UNREACHABLE, "unreachable");
  });
  const answer = parse(await response.text().catch(() => ""));
  if (response.ok && answer) return answer;
  if (response.status === 401 && (await token.another(sent, answer?.detail))) return ask(path, options);
  throw new Problem(
    answer?.detail ?? `The server returned status ${response.status} without a reason.`,
    answer?.code ?? "unknown",
    response.status,
    answer?.request_id,
  );
}

const signed = (options, sent) =>
  sent ? { ...options, headers: { ...options.headers, Authorization: `Bearer ${sent}` } } : options;

function parse(text) {
  try {
    return JSON.parse(text, keepLargeIds);
  } catch {
    return null;
  }
}

// An id may be any 64-bit number; a JavaScript number is not exact beyond 2^53.
function keepLargeIds(_key, value, context) {
  return typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? "")
    ? context.source
    : value;
}
