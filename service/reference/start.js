// Swagger UI has a link in each button that unfolds an operation; without it, the button still puts the operation in the address.
const withoutNestedLinks = ({ React }) => ({
  components: { DeepLink: ({ text }) => React.createElement("span", {}, text) },
});

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  plugins: [withoutNestedLinks],
  syntaxHighlight: { theme: "tomorrow-night" },
  validatorUrl: null, // it is on another host
});

// What Swagger UI does not say to people who hear the page, or use it without a mouse.
const UNSAID = {
  "#servers": () => ["aria-label", "Server"],
  "#reference h3": () => ["aria-level", 2],
  "#reference h4": (title) => ["aria-level", title.closest(".models") ? 2 : 3],
  "#reference h5": () => ["aria-level", 4],
  ".microlight": () => ["tabindex", 0],
  ".copy-to-clipboard button": () => ["aria-label", "Copy"],
  ".close-modal": () => ["aria-label", "Close"],
  ".body-param__text": () => ["aria-label", "Request body"],
  "tr[data-param-name] select": (field) => ["aria-label", field.closest("tr").dataset.paramName],
  ".examples-select-element": () => ["aria-label", "Example"],
  ".responses-table": (table) => ["aria-label", responsesOf(table)],
};

function responsesOf(table) {
  const operation = table.closest(".opblock").querySelector(".opblock-summary-control").innerText;
  return `${table.matches(".live-responses-table") ? "Server response" : "Responses"}: ${operation}`;
}

function complete() {
  for (const [selector, attribute] of Object.entries(UNSAID))
    for (const element of document.querySelectorAll(selector)) element.setAttribute(...attribute(element));
}

new MutationObserver(complete).observe(document.getElementById("reference"), { childList: true, subtree: true });

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();
