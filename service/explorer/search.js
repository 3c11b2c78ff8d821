// The search: a field that suggests users whose ids begin with the typed text, and items by id or title.

import * as api from "./api.js";
import { byId, h } from "./dom.js";
import { link } from "./lists.js";

const SUGGESTED = 6;

export function setUpSearch() {
  const field = byId("search");
  const found = byId("found");
  let asking = new AbortController();
  let options = [];
  let asked = ""; // what the options were found for
  let active = -1;

  field.addEventListener("input", suggest);
  field.addEventListener("focus", suggest);
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => keys[event.key]?.(event));
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches?.("input, textarea, select");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    field.focus();
    field.select();
  });

  const keys = {
    ArrowDown: (event) => mark(event, active + 1),
    ArrowUp: (event) => mark(event, active - 1),
    Escape: () => (found.hidden ? field.blur() : close()),
    Enter: () => open(options[active]?.dataset.to ?? typed(field.value.trim())),
  };

  async function suggest() {
    asking.abort();
    const { signal } = (asking = new AbortController());
    const text = field.value.trim();
    const [users, items] = await Promise.all([
      api.users(SUGGESTED, 0, text, signal).catch(() => ({ users: [] })),
      api.findItems(text, SUGGESTED, signal).catch(() => ({ items: [] })),
    ]);
    if (signal.aborted || document.activeElement !== field) return;
    const groups = [
      group("Users", users.users.map((user) => option(link("user", user), String(user)))),
      group("Items", items.items.map((item) => option(link("item", item.item_id), ...nameOf(item)))),
    ];
    found.replaceChildren(...groups.filter((one) => one.children.length));
    options = [...found.querySelectorAll("[role=option]")];
    options.forEach((one, place) => (one.id = `found-${place}`));
    [asked, active] = [text, -1];
    show(options.length > 0);
  }

  // On mouse down, because before a click the field loses the focus and the list closes.
  function option(to, ...name) {
    const attributes = { role: "option", "aria-selected": "false", "data-to": to, onmousedown: () => open(to) };
    return h("li", attributes, name);
  }

  // The user with this id, unless only items are found.
  function typed(text) {
    const onlyItems = asked === text && options[0]?.dataset.to.startsWith("#item=");
    return text && (onlyItems ? options[0].dataset.to : link("user", text));
  }

  function mark(event, place) {
    event.preventDefault();
    if (found.hidden || !options.length) return;
    active = (place + options.length) % options.length;
    options.forEach((option, here) => option.setAttribute("aria-selected", String(here === active)));
    options[active].scrollIntoView({ block: "nearest" });
    field.setAttribute("aria-activedescendant", options[active].id);
  }

  function open(to) {
    if (!to) return;
    close();
    field.value = "";
    field.blur();
    location.hash = to;
  }

  function show(shown) {
    found.hidden = !shown;
    field.setAttribute("aria-expanded", String(shown));
    field.removeAttribute("aria-activedescendant");
  }

  function close() {
    asking.abort();
    active = -1;
    show(false);
  }
}

const group = (name, options) => h("ul", { role: "group", "aria-label": name }, options);
const nameOf = (item) => (item.title ? [item.title, h("small", {}, String(item.item_id))] : [String(item.item_id)]);
