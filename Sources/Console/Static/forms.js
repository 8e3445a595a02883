// Every form that acts is a call of the API: built from the fields, shown as curl and CLI, sent, and its
// operations waited for.
import { APIFailure, at, call, el, localTime, pause, project, shell, toast } from "./base.js";

function put(body, path, value) {
  const keys = path.split(".");
  const last = keys.pop();
  let place = body;
  for (const key of keys) place = place[key] ??= {};
  place[last] = value;
}

function value(field) {
  if (field.type === "checkbox" && !field.checked) return undefined;
  const text = field.value;
  const type = field.dataset.type;
  if (type === "lines") return text.split("\n").map((line) => line.trim()).filter(Boolean);
  if (text === "") return undefined;
  if (type === "bool") return text === "true";
  if (type === "int") return Number.parseInt(text, 10);
  if (type === "number") return Number(text);
  if (type === "json") return JSON.parse(text);
  if (type === "time") return new Date(text).toISOString();
  return text;
}

/** The call that a form makes now. */
export function request(form) {
  const [method, pattern] = form.dataset.api.split(" ");
  const body = {};
  const query = new URLSearchParams();
  const plain = {};
  let path = pattern;
  let hasBody = false;
  for (const field of form.elements) {
    if (!field.name) continue;
    const found = value(field);
    if (found === undefined) continue;
    plain[field.name] = found;
    if (field.dataset.in === "path") path = path.replace(`{${field.name}}`, encodeURIComponent(found));
    else if (field.dataset.in === "query") query.set(field.name, found);
    else { put(body, field.name, found); hasBody = true; }
  }
  const search = query.toString();
  return { method, path: search ? `${path}?${search}` : path, body: hasBody ? body : undefined, plain };
}

function curl({ method, path, body }) {
  const lines = [`curl -X ${method} ${shell(`${location.origin}/api/v2${path}`)}`, '-H "Authorization: Bearer $EXZO_API_KEY"'];
  if (body !== undefined) lines.push(`-H 'Content-Type: application/json'`, `-d ${shell(JSON.stringify(body))}`);
  return lines.join(" \\\n  ");
}

/** Below a form, what it does as a call and as a command. */
function explain(form) {
  const code = el("pre", { tabindex: "0" });
  const line = form.dataset.cli ? el("pre", { tabindex: "0" }) : null;
  const details = el("details", { class: "asapi" }, el("summary", {}, "As an API call"), code, line);
  const update = () => {
    let made;
    try { made = request(form); } catch { return; /* a field that is not finished yet */ }
    code.textContent = curl(made);
    if (line) {
      line.textContent = form.dataset.cli.replace(/\{([\w.]+)\}/g, (whole, name) =>
        made.plain[name] === undefined ? "…" : shell(String(made.plain[name])))
        + (project && !form.dataset.cli.includes("projects") ? ` --project-id ${project}` : "");
    }
  };
  details.addEventListener("toggle", update);
  form.addEventListener("input", update);
  form.append(details);
}

/** Waits until all operations are done; throws for one that failed. */
export async function settle(operations, tell = () => {}) {
  let done = 0;
  for (const operation of operations ?? []) {
    for (;;) {
      const { operation: now } = await call("GET", `/projects/${operation.project_id}/operations/${operation.id}`);
      if (["failed", "error"].includes(now.status)) throw new APIFailure(500, { message: now.error ?? "the operation failed" });
      if (["finished", "skipped", "cancelled"].includes(now.status)) break;
      tell(done, operations.length, now.kind ?? now.action);
      await pause(250);
    }
    done += 1;
  }
}

/** The refusal, beside the field that it names, else below the form. */
function refuse(form, failure) {
  clear(form);
  const named = /'([\w.]+)'/.exec(failure.message)?.[1];
  const field = [...form.elements].find((one) => one.name && one.type !== "hidden" && named
    && (one.name === named || one.name.endsWith(`.${named}`) || named.endsWith(`.${one.name}`)));
  const id = `problem-${Math.random().toString(36).slice(2)}`;
  const message = el("p", { class: "problem", id, role: "alert" }, failure.message);
  if (field) {
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", id);
    field.after(message);
    field.focus();
  } else if (form.closest("td, .row, .inline") && !form.closest("dialog")) {
    toast(failure.message, "bad");
  } else {
    form.querySelector(".buttons, .asapi")?.before(message);
  }
}

function clear(form) {
  for (const node of form.querySelectorAll(".problem[role=alert]")) node.remove();
  for (const node of form.querySelectorAll("[aria-invalid]")) node.removeAttribute("aria-invalid");
}

function showSecret(title, text, after) {
  const dialog = el("dialog", { "aria-label": title }, el("h2", {}, title),
    el("p", { class: "secret mono", tabindex: "0" }, text),
    el("div", { class: "buttons" },
      el("button", { type: "button", onclick: async () => { await navigator.clipboard?.writeText(text); toast("Copied"); } }, "Copy"),
      el("button", { type: "button", class: "primary", onclick: () => dialog.close() }, "Done")));
  dialog.addEventListener("close", () => { dialog.remove(); after(); });
  document.body.append(dialog);
  dialog.showModal();
}

function download(name, answer) {
  const link = el("a", { href: URL.createObjectURL(new Blob([JSON.stringify(answer, null, 2)], { type: "application/json" })), download: name });
  link.click();
  URL.revokeObjectURL(link.href);
}

async function send(form, refresh) {
  const match = form.querySelector("[data-match]");
  if (match && match.value !== match.dataset.match) {
    return refuse(form, new Error(`Type exactly ${match.dataset.match}`));
  }
  if (form.dataset.ask && !(await confirmed(form.dataset.ask))) return;
  clear(form);
  const button = form.querySelector("button:not([type=button])");
  const label = button?.textContent;
  const dialog = form.closest("dialog");
  if (button) button.disabled = true;
  const bar = el("progress", { "aria-label": "Working" });
  button?.before(bar);
  try {
    const made = request(form);
    const answer = await call(made.method, made.path, made.body);
    await settle(answer?.operations, (done, all) => {
      bar.max = all;
      if (done > 0) bar.value = done;
      if (button) button.textContent = "Working…";
    });
    if (dialog?.open) dialog.close();
    const finish = () => finishWith(form, answer, refresh);
    if (form.dataset.download) return download(form.dataset.download, answer);
    if (form.dataset.show) return showSecret(form.dataset.title ?? "", String(at(answer, form.dataset.show) ?? ""), finish);
    finish();
  } catch (failure) {
    if (failure instanceof TypeError) refuse(form, new Error("The server does not answer. Try again."));
    else refuse(form, failure);
  } finally {
    bar.remove();
    if (button) { button.disabled = false; button.textContent = label; }
  }
}

function finishWith(form, answer, refresh) {
  if (form.dataset.then) {
    location.assign(form.dataset.then.replace(/\{([\w.]+)\}/g, (_, path) => encodeURIComponent(at(answer, path) ?? "")));
    return;
  }
  toast("Done");
  refresh();
}

function confirmed(question) {
  return new Promise((answer) => {
    let isYes = false;
    const dialog = el("dialog", { "aria-label": "Please confirm" }, el("p", {}, question),
      el("div", { class: "buttons" },
        el("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
        el("button", { type: "button", class: "danger", onclick: () => { isYes = true; dialog.close(); } }, "Yes")));
    dialog.addEventListener("close", () => { dialog.remove(); answer(isYes); });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Makes the forms below `root` act. */
export function equip(root, refresh) {
  for (const form of root.querySelectorAll("form[data-api]")) {
    if (form.dataset.isEquipped) continue;
    form.dataset.isEquipped = "yes";
    explain(form);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      send(form, refresh);
    });
  }
}

export { localTime };
