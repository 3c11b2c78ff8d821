// Filters: an expression as text, and controls that write parts of it from the catalog's attributes.

import { h } from "./dom.js";
import { model } from "./live.js";

const MOST_ATTRIBUTES = 8;
const TOKENS = /[()]|(?<![\w.-])(and|or)(?![\w.-])/gi;
const KEYWORD = /^(and|or|not|in|true|false)$/i;

// Asks with a filter; if that one is refused, without it: refused says why.
export async function filtered(ask, filter) {
  try {
    return { answer: await ask(filter), refused: "" };
  } catch (problem) {
    if (problem.code !== "bad_filter") throw problem;
    return { answer: await ask(""), refused: problem.message };
  }
}

// changed(text) is called with every new expression, and throws if it is wrong.
export function filters(text, refused, changed) {
  const attributes = (model?.catalog?.attributes ?? []).filter((one) => one.values.length || LIMITS[one.type]);
  if (!attributes.length) return null;
  const refusal = h("p", { class: "refusal", role: "alert", id: "refusal" });
  const field = h("input", {
    type: "text",
    "aria-label": "Filter",
    "aria-describedby": "refusal",
    placeholder: "such as price < 20",
    autocomplete: "off",
    spellcheck: "false",
    "data-key": "filter",
    onchange: () => set(field.value.trim()),
  });
  const controls = attributes
    .slice(0, MOST_ATTRIBUTES)
    .map((one) => (LIMITS[one.type] ? limit : choices)(one, () => clausesOf(text), (clauses) => set(clauses.join(" AND "))));
  show(refused);
  return h(
    "details",
    { class: "filters", open: Boolean(text) },
    h("summary", { "data-key": "filters" }, "Filter by the catalog"),
    controls.map(({ node }) => node),
    field,
    refusal,
  );

  async function set(now) {
    text = now;
    show("");
    const wrong = await changed(now).then(() => "", (problem) => problem.message);
    if (now === text) show(wrong);
  }

  function show(wrong) {
    field.value = text;
    field.setAttribute("aria-invalid", String(Boolean(wrong)));
    refusal.textContent = wrong;
    for (const { update } of controls) update();
  }
}

// The operands of the outermost AND; what is an OR as a whole is put in parentheses, to be one.
function clausesOf(text) {
  const plain = text.replace(/'[^']*'|"[^"]*"/g, (quoted) => "_".repeat(quoted.length));
  const clauses = [];
  let [depth, start] = [0, 0];
  for (const { 0: token, index } of plain.matchAll(TOKENS)) {
    if (token === "(") depth += 1;
    else if (token === ")") depth -= 1;
    else if (depth) continue;
    else if (token.toLowerCase() === "or") return [`(${text.trim()})`];
    else {
      clauses.push(text.slice(start, index).trim());
      start = index + token.length;
    }
  }
  return [...clauses, text.slice(start).trim()].filter(Boolean);
}

// With another clause at a place, or without one; beyond the last place, it is appended.
function rewritten(clauses, place, clause) {
  const here = place < 0 ? clauses.length : place;
  return [...clauses.slice(0, here), clause, ...clauses.slice(here + 1)].filter(Boolean);
}

const nameOf = ({ name }) =>
  /^[a-z_][\w.-]*$/i.test(name) && !KEYWORD.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
const literal = (value) => (typeof value === "string" ? `'${value.replaceAll("'", "''")}'` : String(value));

// Chips, of which any number is pressed: genre IN ('horror', 'cookery').
function choices(attribute, clauses, rewrite) {
  const name = nameOf(attribute);
  const place = () => clauses().findIndex((one) => one.startsWith(`${name} = `) || one.startsWith(`${name} IN (`));
  const chosen = () => clauses()[place()]?.slice(name.length).match(/'([^']|'')*'|true|false/g) ?? [];
  const chips = attribute.values.map((value) => {
    const key = `filter ${attribute.name} ${value}`;
    const text = typeof value === "boolean" ? (value ? "yes" : "no") : value;
    return h("button", { type: "button", "data-key": key, onclick: () => toggle(literal(value)) }, text);
  });
  const list = h("ul", { class: "chips", "aria-label": attribute.name }, chips.map((chip) => h("li", {}, chip)));
  return { node: labelled(attribute.name, list), update };

  function toggle(value) {
    const before = chosen();
    const now = before.includes(value) ? before.filter((other) => other !== value) : [...before, value];
    const clause = now.length > 1 ? `${name} IN (${now.join(", ")})` : now.length && `${name} = ${now[0]}`;
    rewrite(rewritten(clauses(), place(), clause));
  }

  function update() {
    const now = chosen();
    chips.forEach((chip, place) => {
      const pressed = now.includes(literal(attribute.values[place]));
      chip.setAttribute("aria-pressed", String(pressed));
      chip.className = pressed ? "chip picked" : "chip";
    });
  }
}

const LIMITS = {
  number: { operator: "<=", sign: "at most", written: (value) => value, shown: (text) => text },
  date: { operator: ">=", sign: "since", written: literal, shown: (text) => text.slice(1, -1) },
};

// A field for the largest number, or the earliest date: price <= 20.
function limit(attribute, clauses, rewrite) {
  const { operator, sign, written, shown } = LIMITS[attribute.type];
  const start = `${nameOf(attribute)} ${operator} `;
  const place = () => clauses().findIndex((one) => one.startsWith(start));
  const field = h("input", {
    type: attribute.type,
    step: attribute.type === "number" && "any",
    "aria-label": `${attribute.name} ${sign}`,
    "data-key": `filter ${attribute.name}`,
    onchange: () => rewrite(rewritten(clauses(), place(), field.value && start + written(field.value))),
  });
  const update = () => (field.value = shown(clauses()[place()]?.slice(start.length) ?? ""));
  return { node: labelled(attribute.name, h("span", { class: "limit" }, h("span", { "aria-hidden": "true" }, sign), field)), update };
}

const labelled = (name, control) => h("div", { class: "attribute" }, h("span", { class: "note" }, name), control);
