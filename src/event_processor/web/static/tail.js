// Lists of events that go on by themselves: [data-tail=events], with filters in data attributes.
import { on, clockTime } from "./app.js";

const pause = document.querySelector("#pause");
pause?.addEventListener("click", () => {
  const held = pause.getAttribute("aria-pressed") !== "true";
  pause.setAttribute("aria-pressed", held);
  pause.textContent = held ? "Go on" : "Hold still";
  if (!held) window.htmx?.trigger("#found", "refresh");
});

function wanted(list, event) {
  const { text, device, kind, keys } = list.dataset;
  if (list.dataset.only === "devices" && !event.device) return false;
  if (keys !== undefined) return keys.split("\n").includes(event.device);
  if (device && event.device !== device) return false;
  if (kind && event.kind !== kind) return false;
  return !text || [event.device, event.topic, event.text, event.type].some((part) => part.toLowerCase().includes(text.toLowerCase()));
}

function row(event) {
  const element = document.querySelector("#event-row").content.firstElementChild.cloneNode(true);
  element.dataset.cause = event.cause;
  const time = element.querySelector("time");
  time.dateTime = new Date(event.at * 1000).toISOString();
  time.title = time.dateTime;
  time.textContent = clockTime(event.at);
  const link = element.querySelector("a");
  link.href = "/events/" + encodeURIComponent(event.cause);
  link.textContent = event.device || event.kind;
  element.querySelector(".value").textContent = event.text;
  element.querySelector(".what").textContent = event.note;
  return element;
}

on("outcomes", (news) => {
  if (pause?.getAttribute("aria-pressed") === "true") return;
  for (const list of document.querySelectorAll("[data-tail=events]")) {
    const rows = news.events.filter((event) => wanted(list, event)).reverse().map(row);
    if (!rows.length) continue;
    list.prepend(...rows);
    list.hidden = false;
    const empty = document.querySelector("#found > .empty, #latest-empty");
    if (empty) empty.hidden = true;
    while (list.children.length > Number(list.dataset.most)) list.lastElementChild.remove();
  }
});
