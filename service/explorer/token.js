// The token of this tab: asked for when the server refuses a request, and kept until the tab is closed.

import { h } from "./dom.js";

const KEY = "als-serve token";
let asking = null; // whether a token comes, while the question is open
let declined = false; // the reader closed the question; the next view may ask again

export const current = () => sessionStorage.getItem(KEY);
export const mayAsk = () => (declined = false);

export function forget() {
  sessionStorage.removeItem(KEY);
  location.reload();
}

// Whether there is another token than the one that was refused; all requests that were refused wait for one answer.
export async function another(refused, why) {
  if (current() !== refused) return true;
  if (declined) return false;
  asking ??= ask(why).finally(() => (asking = null));
  return asking;
}

function ask(why) {
  const field = h("input", {
    type: "password",
    id: "token",
    required: true,
    pattern: "\\s*[!-~]+\\s*",
    title: "A token has letters, digits and signs, without blanks.",
    "aria-describedby": "why-token",
    autocomplete: "off",
  });
  const dialog = h(
    "dialog",
    { class: "ask", "aria-labelledby": "ask-token" },
    h(
      "form",
      { onsubmit: take },
      h("h2", { id: "ask-token" }, "This server asks for a token"),
      h("p", { class: "note", id: "why-token" }, why),
      h("label", { for: "token" }, "Token"),
      field,
      h("p", { class: "note" }, "It is kept until you close this tab."),
      h(
        "p",
        { class: "links" },
        h("button", { class: "button" }, "Use it"),
        h("button", { type: "button", class: "button quiet", onclick: () => dialog.close() }, "Not now"),
      ),
    ),
  );

  function take(event) {
    event.preventDefault();
    sessionStorage.setItem(KEY, field.value.trim());
    dialog.close("taken");
  }

  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => {
      declined = dialog.returnValue !== "taken";
      dialog.remove();
      resolve(!declined);
    }),
  );
}
