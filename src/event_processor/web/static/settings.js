// Forms that ask the API: data-api="METHOD /address", and what follows: data-then ("reload", or words), data-show (what of the
// answer is shown, once), data-download (a file's name).
import { say } from "./app.js";

const csrf = JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRF-Token"];

function written(form) {
  const body = {};
  for (const field of form.elements) {
    if (!field.name) continue;
    if (field.type === "checkbox") body[field.name] = field.checked;
    else if ("number" in field.dataset) { if (field.value) body[field.name] = Number(field.value); } else body[field.name] = field.value;
  }
  return body;
}

async function explain(answer) {
  try {
    const problem = await answer.json();
    const more = (problem.errors ?? []).map((each) => `${each.where}: ${each.what}`).join("; ");
    return [problem.detail || problem.title, more].filter(Boolean).join(" ");
  } catch { return `The hub answered with ${answer.status}.`; }
}

function show(place, answer) {
  for (const part of place.querySelectorAll("[data-field]")) part.textContent = answer[part.dataset.field];
  for (const part of place.querySelectorAll("[data-lines]")) part.textContent = answer[part.dataset.lines].join("\n");
  for (const part of place.querySelectorAll("[data-svg]")) part.src = "data:image/svg+xml," + encodeURIComponent(answer[part.dataset.svg]);
  place.hidden = false;
  place.setAttribute("tabindex", "-1");
  place.focus();
}

function sure(text) {
  const dialog = document.querySelector("#ask");
  document.querySelector("#ask-title").textContent = "Are you sure?";
  document.querySelector("#ask-text").textContent = text;
  document.querySelector("#ask-yes").textContent = "Yes";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-api]");
  if (!form) return;
  event.preventDefault();
  if (form.dataset.confirm && !(await sure(form.dataset.confirm))) return;
  const [method, address] = form.dataset.api.split(" ");
  const body = written(form);
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const answer = await fetch(address, {
      method,
      headers: { accept: "application/json, application/problem+json", "content-type": "application/json", "X-CSRF-Token": csrf, "Idempotency-Key": crypto.randomUUID?.() ?? String(Math.random()) },
      body: Object.keys(body).length ? JSON.stringify(body) : undefined,
    });
    if (!answer.ok) { say(await explain(answer), true); return; }
    if (form.dataset.download) {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(await answer.blob());
      link.download = form.dataset.download;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    } else if (form.dataset.show) show(document.querySelector(form.dataset.show), await answer.json());
    else if (form.dataset.then === "reload") location.reload();
    else { say(form.dataset.then); form.reset(); }
  } catch { say("The hub does not answer. Nothing was changed.", true); } finally { button.disabled = false; }
});
