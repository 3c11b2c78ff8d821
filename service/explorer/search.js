// The search for users: a field that suggests ids that begin with the typed text.

import * as api from "./api.js";
import { byId, h } from "./dom.js";
import { link } from "./lists.js";

const SUGGESTED = 8;

export function setUpSearch() {
  const field = byId("search");
  const found = byId("found");
  let asking = new AbortController();
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
    Enter: () => open(found.children[active]?.textContent ?? field.value.trim()),
  };

  async function suggest() {
    asking.abort();
    asking = new AbortController();
    const users = await api.users(SUGGESTED, 0, field.value.trim(), asking.signal).then(
      (answer) => answer.users,
      () => null,
    );
    if (!users || document.activeElement !== field) return;
    // On mouse down, because before a click the field loses the focus and the list closes.
    const options = users.map((user, place) =>
      h(
        "li",
        { role: "option", id: `found-${place}`, "aria-selected": "false", onmousedown: () => open(String(user)) },
        String(user),
      ),
    );
    found.replaceChildren(...options);
    active = -1;
    show(options.length > 0);
  }

  function mark(event, place) {
    event.preventDefault();
    const options = [...found.children];
    if (found.hidden || !options.length) return;
    active = (place + options.length) % options.length;
    options.forEach((option, here) => option.setAttribute("aria-selected", String(here === active)));
    options[active].scrollIntoView({ block: "nearest" });
    field.setAttribute("aria-activedescendant", options[active].id);
  }

  function open(user) {
    if (!user) return;
    close();
    field.value = "";
    field.blur();
    location.hash = link("user", user);
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
