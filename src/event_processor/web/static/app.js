// What every page does: the look, the menu, moments in words, the live stream, questions and messages. Nothing is built and
// nothing is fetched from elsewhere. Pages keep working without it; they are only not live then.

const root = document.documentElement;
const body = document.body;
const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];

// -- The look ---------------------------------------------------------------------------------------------------------

$("#theme")?.addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("theme", root.dataset.theme); } catch { /* it holds for this page */ }
  document.dispatchEvent(new CustomEvent("theme"));
});

const more = $("#more");
more?.addEventListener("click", () => more.setAttribute("aria-expanded", $("#nav").classList.toggle("open")));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && $("#nav")?.classList.contains("open")) { more.click(); more.focus(); }
});

// -- Moments in words -------------------------------------------------------------------------------------------------

const words = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });
const steps = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

export function distance(at, now = Date.now() / 1000) {
  const seconds = at - now;
  if (Math.abs(seconds) < 5) return "now";
  const [unit, size] = steps.find(([, size]) => Math.abs(seconds) >= size) ?? steps.at(-1);
  return words.format(Math.round(seconds / size), unit);
}

const full = new Intl.DateTimeFormat("en-GB", { dateStyle: "full", timeStyle: "medium", timeZone: zone() });
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium", timeZone: zone() });

function zone() {
  try { Intl.DateTimeFormat("en", { timeZone: body.dataset.zone }); return body.dataset.zone || undefined; } catch { return undefined; }
}

export function moment(at) {
  const element = document.createElement("time");
  element.dateTime = new Date(at * 1000).toISOString();
  element.title = full.format(at * 1000);
  element.dataset.at = at;
  element.textContent = distance(at);
  return element;
}

export const clockTime = (at) => clock.format(at * 1000);

function tellTimes() {
  const now = Date.now() / 1000;
  for (const element of $$("time[data-at]")) {
    const text = distance(Number(element.dataset.at), now);
    if (element.textContent !== text) element.textContent = text;
  }
}
tellTimes();
setInterval(tellTimes, 5000);
document.addEventListener("htmx:afterSettle", tellTimes);

// -- Messages and questions -------------------------------------------------------------------------------------------

export function say(text, bad = false) {
  const toast = document.createElement("div");
  toast.className = bad ? "toast bad" : "toast";
  toast.textContent = text;
  $("#toasts")?.append(toast);
  setTimeout(() => toast.remove(), bad ? 15000 : 7000);
}
document.addEventListener("say", (event) => say(event.detail.text, event.detail.bad));

document.addEventListener("htmx:responseError", (event) => {
  const { status, responseText } = event.detail.xhr;
  if (status === 401) { location.assign("/login?next=" + encodeURIComponent(location.pathname)); return; }
  let text = `The hub answered with ${status}.`;
  try { text = JSON.parse(responseText).detail || text; } catch { /* not a problem document */ }
  say(text, true);
});
document.addEventListener("htmx:sendError", () => say("The hub does not answer. What you asked for was not done.", true));

document.addEventListener("htmx:confirm", (event) => {
  if (!event.detail.question) return;
  event.preventDefault();
  const dialog = $("#ask");
  const form = event.detail.elt;
  $("#ask-title").textContent = form.dataset.title || "Are you sure?";
  $("#ask-text").textContent = event.detail.question;
  $("#ask-yes").textContent = form.dataset.yes || "Yes";
  dialog.returnValue = "";
  dialog.addEventListener("close", () => { if (dialog.returnValue === "yes") event.detail.issueRequest(true); }, { once: true });
  dialog.showModal();
});

// -- The stream -------------------------------------------------------------------------------------------------------

const listeners = new Map();
let source = null;
let connected = false;
let tries = 0;
let retry = 0;

/** Call `handle` with the data of every message of that name: "outcomes", "wiring". */
export function on(name, handle) {
  const known = listeners.has(name);
  listeners.set(name, [...(listeners.get(name) ?? []), handle]);
  if (source && !known) listen(name);
}

function listen(name) {
  source.addEventListener(name, (message) => {
    const data = JSON.parse(message.data);
    for (const handle of listeners.get(name)) handle(data);
  });
}

function show(state, text) {
  const link = $("#link");
  if (!link) return;
  link.dataset.state = state;
  $("#link-text").textContent = text;
}

function connect() {
  clearTimeout(retry);
  source?.close();
  source = new EventSource(body.dataset.live || "/live");
  for (const name of listeners.keys()) listen(name);
  source.addEventListener("open", () => {
    if (tries > 0 || connected) refresh();
    connected = true;
    tries = 0;
    show("live", "live");
  });
  source.addEventListener("lost", refresh);
  source.addEventListener("error", () => {
    source.close();
    tries += 1;
    show("away", "connecting again");
    retry = setTimeout(again, Math.min(15000, 500 * 2 ** tries) * (0.75 + Math.random() / 2));
  });
}

async function again() {
  try {
    const answer = await fetch("/live/here", { redirect: "manual", cache: "no-store" });
    if (answer.status === 401 || answer.type === "opaqueredirect") {
      location.assign("/login?next=" + encodeURIComponent(location.pathname));
      return;
    }
  } catch { /* it is away: the next attempt says so */ }
  connect();
}

/** Ask for those parts of the page again that say so: after a gap, what was missed is not known. */
function refresh() {
  document.dispatchEvent(new CustomEvent("missed"));
  for (const part of $$("[data-refresh]")) window.htmx?.trigger(part, "refresh");
}

// A page that nobody sees costs nothing: it is told again when it is looked at.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) { clearTimeout(retry); source?.close(); show("new", "resting"); } else if ($("#link")) { connect(); }
});
addEventListener("pagehide", () => source?.close());

// -- What the stream says, on any page that shows it ------------------------------------------------------------------

on("outcomes", (news) => {
  news.values.forEach(showValue);
  for (const [device, online] of news.online) showOnline(device, online);
  for (const what of news.reload) reloadSoon(what);
});

on("banners", (html) => {
  const banners = $("#banners");
  if (banners && banners.dataset.shown !== html) {
    banners.dataset.shown = html;
    banners.innerHTML = html; // made by the hub's own template, which escapes
  }
});

const due = new Set();
function reloadSoon(what) {
  if (due.has(what)) return;
  due.add(what);
  setTimeout(() => {
    due.delete(what);
    for (const part of $$(`[data-refresh~="${what}"]`)) window.htmx?.trigger(part, "refresh");
  }, 150);
}

function showValue({ key, text, active, known, at }) {
  for (const tile of $$(`[data-key="${CSS.escape(key)}"]`)) {
    tile.dataset.active = active === true;
    tile.dataset.known = known;
    const value = $(".value", tile);
    if (value && value.textContent !== text) {
      value.textContent = text;
      tile.classList.remove("flash");
      requestAnimationFrame(() => tile.classList.add("flash"));
    }
    const toggle = $("[role=switch]", tile);
    if (toggle && active !== null) {
      toggle.setAttribute("aria-checked", active);
      $("input[name=value]", toggle.form).value = active ? "off" : "on";
    }
    const time = $("time[data-at]", tile.closest("[data-device]") ?? tile);
    if (time) { time.dataset.at = at; time.dateTime = new Date(at * 1000).toISOString(); time.title = full.format(at * 1000); time.textContent = distance(at); }
  }
}

function showOnline(device, online) {
  for (const part of $$(`[data-device="${CSS.escape(device)}"]`)) {
    const dot = $(".dot", part);
    if (dot) { dot.className = online ? "dot good" : "dot bad"; }
    const word = $(".liveness", part);
    if (word) {
      word.textContent = online ? "alive" : "silent";
      word.closest(".state").dataset.alive = word.textContent;
    }
  }
}

if ($("#link")) connect();
