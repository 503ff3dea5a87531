// The editor of rules: says what is wrong while somebody types, keeps Tab for indenting (Escape, then Tab leaves).
const editor = document.querySelector("#rules-text");
const form = editor?.form;

if (editor) {
  let leaving = false;
  editor.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { leaving = true; return; }
    if (event.key === "Tab" && !event.shiftKey && !leaving) {
      event.preventDefault();
      editor.setRangeText("    ", editor.selectionStart, editor.selectionEnd, "end");
      editor.dispatchEvent(new Event("input", { bubbles: true }));
    }
    if ((event.ctrlKey || event.metaKey) && event.key === "s") { event.preventDefault(); form.requestSubmit(); }
    leaving = false;
  });

  let changed = false;
  editor.addEventListener("input", () => { changed = true; });
  document.addEventListener("saved", () => { changed = false; });
  form.addEventListener("submit", () => { if (!window.htmx) changed = false; });
  addEventListener("beforeunload", (event) => { if (changed) event.preventDefault(); });

  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.target.id !== "problems") return;
    editor.setAttribute("aria-invalid", String(Boolean(event.target.querySelector(".problem.bad"))));
  });

  // A problem leads to its rule in the text.
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-goto]");
    if (!button) return;
    const place = editor.value.search(new RegExp(`^\\s*id\\s*=\\s*["']${button.dataset.goto.replace(/[^\w-]/g, "\\$&")}["']`, "m"));
    editor.focus();
    if (place >= 0) {
      const start = place + (editor.value.slice(place).match(/^\s*/)?.[0].length ?? 0);
      editor.setSelectionRange(start, editor.value.indexOf("\n", start) < 0 ? editor.value.length : editor.value.indexOf("\n", start));
      const line = editor.value.slice(0, start).split("\n").length;
      editor.scrollTop = Math.max(0, (line - 4) * parseFloat(getComputedStyle(editor).lineHeight));
    }
  });
}
