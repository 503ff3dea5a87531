// The form of a schedule: marks what is wrong, leads to it, and puts lines that are offered into the text.
const form = document.querySelector("#schedule-form");
const place = { id: "name", sun: "by" };
const fieldOf = (name) => document.getElementById(place[name] ?? name);

/** Say at each field what is wrong with it. */
function mark() {
  const said = new Map();
  for (const each of document.querySelectorAll("#checked .problem.bad")) {
    const id = fieldOf(each.dataset.wrong)?.id;
    if (id) said.set(id, [...(said.get(id) ?? []), each.querySelector(".why").textContent]);
  }
  for (const text of form.querySelectorAll("[id^=wrong-]")) {
    const id = text.id.slice("wrong-".length);
    text.textContent = (said.get(id) ?? []).join("; ");
    text.hidden = !said.has(id);
    document.getElementById(id).setAttribute("aria-invalid", String(said.has(id)));
  }
}

if (form) {
  const lines = form.querySelector("#do");
  const offer = form.querySelector("#offer");
  const offered = form.querySelector("#offered");
  offer.hidden = offered.options.length === 0;
  form.querySelector("#add").addEventListener("click", () => {
    lines.value = [lines.value.trimEnd(), offered.value].filter(Boolean).join("\n");
    lines.dispatchEvent(new Event("input", { bubbles: true }));
  });

  document.addEventListener("htmx:afterSwap", (event) => { if (event.target.id === "checked") mark(); });
  mark();
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-goto]");
    const field = button && fieldOf(button.dataset.goto);
    if (!field) return;
    if (button.dataset.goto === "sun" && !field.offsetParent) { form.querySelector("#sun").focus(); return; }
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
