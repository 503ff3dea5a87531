// The drawing of the hub and the tables below it, drawn anew by the hub every second; here what is different is taken over,
// so that focus, scrolling and open parts stay where they are.
import { on } from "./app.js";

function morph(old, now) {
  if (old.nodeType !== now.nodeType || old.nodeName !== now.nodeName) { old.replaceWith(now); return; }
  if (old.nodeType !== Node.ELEMENT_NODE) { if (old.data !== now.data) old.data = now.data; return; }
  for (const { name, value } of now.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) if (!now.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  const before = [...old.childNodes], after = [...now.childNodes];
  after.forEach((child, number) => (before[number] ? morph(before[number], child) : old.append(child)));
  before.slice(after.length).forEach((child) => child.remove());
}

on("wiring", (html) => {
  const parts = new DOMParser().parseFromString(html, "text/html");
  for (const part of parts.body.children) {
    const shown = document.getElementById(part.id);
    if (shown) morph(shown, document.importNode(part, true));
  }
});

// A thread's stack, without leaving the drawing.
document.addEventListener("click", async (event) => {
  const link = event.target.closest("#wiring a[href^='/wiring/threads/']");
  if (!link || event.metaKey || event.ctrlKey || !window.htmx) return;
  event.preventDefault();
  const address = link.getAttribute("href");
  await window.htmx.ajax("GET", address, { target: "#stack", select: "#stack > *", swap: "innerHTML" });
  const heading = document.querySelector("#stack h2");
  heading?.setAttribute("tabindex", "-1");
  heading?.focus();
  heading?.scrollIntoView({ block: "nearest" });
});
