// What every page has: live parts, dialogs, copy buttons, the theme, and forms that act.
import { el, project, signInAgain, tellTimes, toast } from "./base.js";
import { equip } from "./forms.js";

/** Replaces the live parts by what the server shows now. */
let refreshing = null;
export function refresh() {
  refreshing ??= (async () => {
    try {
      const response = await fetch(location.href, { headers: { "X-Live": "1" } });
      if (response.redirected && new URL(response.url).pathname === "/signin") return signInAgain();
      if (!response.ok) return;
      const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
      for (const part of document.querySelectorAll("[data-live]")) {
        const next = fresh.getElementById(part.id);
        // What somebody is typing in, or has open, stays.
        if (!next || part.contains(document.activeElement) && document.activeElement.matches("input, textarea, select")) continue;
        if (part.querySelector("dialog[open]")) continue;
        if (next.innerHTML === part.dataset.shown) continue;
        part.dataset.shown = next.innerHTML;
        const open = new Set([...part.querySelectorAll("details[open] > summary")].map((one) => one.textContent));
        const focused = part.contains(document.activeElement) ? [...part.querySelectorAll("a, button")].indexOf(document.activeElement) : -1;
        part.replaceChildren(...next.childNodes);
        for (const summary of part.querySelectorAll("details > summary")) if (open.has(summary.textContent)) summary.parentElement.open = true;
        if (focused >= 0) part.querySelectorAll("a, button")[focused]?.focus();
        prepare(part);
      }
    } catch { /* the stream of events tells when the server is back */ } finally { refreshing = null; }
  })();
  return refreshing;
}

function prepare(root) {
  tellTimes(root);
  equip(root, refresh);
}

document.addEventListener("click", async (event) => {
  const target = event.target.closest("[data-open], [data-close], [data-copy], #theme");
  if (!target) return;
  if (target.dataset.open) {
    const dialog = document.getElementById(target.dataset.open);
    dialog?.showModal();
    dialog?.querySelector("input:not([type=hidden]), select, textarea")?.focus();
  } else if ("close" in target.dataset) {
    target.closest("dialog").close();
  } else if (target.dataset.copy !== undefined) {
    try {
      await navigator.clipboard.writeText(target.dataset.copy);
      toast("Copied");
    } catch {
      toast("The browser does not let this page copy. Select the text instead.", "bad");
    }
  } else {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    localStorage.setItem("theme", next);
    document.documentElement.dataset.theme = next;
  }
});

for (const form of document.querySelectorAll("form[data-auto]")) {
  form.addEventListener("change", () => form.requestSubmit());
}

/** Tells what the server is doing, and refreshes when it is done. */
function listen() {
  const bar = document.getElementById("live-operations");
  const offline = document.getElementById("offline");
  let isFirst = true;
  const source = new EventSource(`/console/events?project=${encodeURIComponent(project)}`);
  let telling = null;
  source.addEventListener("open", () => {
    clearTimeout(telling);
    telling = null;
    if (!offline.hidden) refresh();
    offline.hidden = true;
  });
  source.addEventListener("change", (event) => {
    const state = JSON.parse(event.data);
    const names = state.unfinished.map((one) => one.kind.replaceAll("_", " "));
    bar.replaceChildren(...(names.length ? [el("progress", { "aria-label": "Working" }), el("span", {}, names.join(", "))] : []));
    if (!isFirst) refresh();
    isFirst = false;
  });
  source.addEventListener("over", () => { source.close(); signInAgain(); });
  source.addEventListener("error", async () => {
    // From the first failure on, however often the browser tries meanwhile.
    telling ??= setTimeout(() => { offline.hidden = false; }, 1500);
    if (source.readyState !== EventSource.CLOSED) return;
    // An answer that is no stream, such as 401, ends it for good: begin again.
    try {
      const answer = await fetch("/console/events", { method: "HEAD" });
      if (answer.status === 401) return signInAgain();
    } catch { /* still away */ }
    setTimeout(listen, 2000);
  });
  addEventListener("pagehide", () => source.close());
}

prepare(document);
setInterval(tellTimes, 30000);
if (project) addEventListener("load", listen);
