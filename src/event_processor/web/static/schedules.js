// The form of a schedule: marks what is wrong, leads to it, and puts lines that are offered into the text.
const form = document.querySelector("#schedule-form");
const place = { id: "name", days: "days", sun: "sun" };
const fieldOf = (name) => document.getElementById(place[name] ?? name);

if (form) {
  const lines = form.querySelector("#do");
  const offer = form.querySelector("#offer");
  const offered = form.querySelector("#offered");
  offer.hidden = offered.options.length === 0;
  form.querySelector("#add").addEventListener("click", () => {
    lines.value = [lines.value.trimEnd(), offered.value].filter(Boolean).join("\n");
    lines.dispatchEvent(new Event("input", { bubbles: true }));
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.target.id !== "checked") return;
    const wrong = new Set([...event.target.querySelectorAll(".problem.bad")].map((each) => fieldOf(each.dataset.wrong)?.id));
    for (const field of form.querySelectorAll("input[aria-describedby], textarea")) field.setAttribute("aria-invalid", String(wrong.has(field.id)));
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-goto]");
    const field = button && fieldOf(button.dataset.goto);
    if (!field) return;
    const folded = field.closest("details");
    if (folded) folded.open = true;
    field.focus();
  });

  let changed = false;
  form.addEventListener("input", () => { changed = true; });
  document.addEventListener("htmx:beforeOnLoad", (event) => { if (event.detail.xhr.getResponseHeader("HX-Redirect")) changed = false; });
  form.addEventListener("submit", () => { if (!window.htmx) changed = false; });
  addEventListener("beforeunload", (event) => { if (changed) event.preventDefault(); });
}
