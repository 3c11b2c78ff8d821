// Elements whose data is always text, so that ids and titles can never become markup.

const SVG = "http://www.w3.org/2000/svg";

export const h = (tag, attributes, ...children) => build(document.createElement(tag), attributes, children);
export const svg = (tag, attributes, ...children) => build(document.createElementNS(SVG, tag), attributes, children);
export const byId = (id) => document.getElementById(id);

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "share")
      element.style.setProperty("--share", value); // the policy refuses style attributes
    else if (value !== null && value !== undefined && value !== false)
      element.setAttribute(name, value === true ? "" : value);
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

// Replaces what an element contains; what had the focus there has it afterwards, if it is there again.
export function renew(element, ...children) {
  const key = document.activeElement?.dataset?.key;
  element.replaceChildren(...children);
  if (key) element.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
}

const whole = new Intl.NumberFormat("en");
export const count = (number) => whole.format(number);
export const counted = (number, one, many = one + "s") => `${count(number)} ${number === 1 ? one : many}`;

export function score(number) {
  return Math.abs(number) >= 100 || Number.isInteger(number)
    ? whole.format(Math.round(number))
    : number.toFixed(3).replace("-", "−");
}

export function bytes(number) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const step = number < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(number) / 3));
  return `${step ? (number / 1000 ** step).toPrecision(3) : number} ${units[step]}`;
}

export function seconds(number) {
  if (number >= 1) return `${number.toFixed(number < 10 ? 2 : 0)} s`;
  return number < 0.0001 ? "< 0.1 ms" : `${(number * 1000).toFixed(number < 0.01 ? 1 : 0)} ms`;
}

export const time = (moment) => h("time", { datetime: moment, title: moment }, new Date(moment).toLocaleTimeString());
export const moment = (text) => new Date(text).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });

export const section = (title, note, ...children) =>
  h("section", { class: "card" }, h("h2", {}, title), note && h("p", { class: "note" }, note), ...children);

export const empty = (text) => h("p", { class: "empty" }, text);

const bone = (width) => h("span", { class: "bone", share: width });

export function skeleton() {
  const rows = () => [0.7, 0.85, 0.6, 0.75, 0.5, 0.8, 0.65].map((width) => h("li", {}, bone(width)));
  const column = () => h("section", { class: "card" }, bone(0.3), h("ol", { class: "bones" }, rows()));
  return h(
    "div",
    { "aria-busy": "true", "aria-label": "Loading" },
    h("h1", {}, bone(0.25)),
    h("div", { class: "columns" }, column(), column()),
  );
}
