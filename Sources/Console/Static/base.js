// What all scripts of the Console share: calls of the API, elements, messages, times.

const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";
export const project = meta("project");

export class APIFailure extends Error {
  constructor(status, body) {
    super(body?.message ?? `the server answered ${status}`);
    this.status = status;
    this.code = body?.code ?? "";
  }
}

/** Back to where the user was, after signing in again. */
export function signInAgain() {
  location.assign(`/signin?next=${encodeURIComponent(location.pathname + location.search)}`);
}

/** Calls the API as the user who is signed in; resolves to what it answered. */
export async function call(method, path, body, signal) {
  const options = { method, signal, headers: { "X-Form-Token": meta("form-token") } };
  if (body !== undefined && method !== "GET") {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const response = await fetch(`/console/api/v2${path}`, options);
  const text = await response.text();
  let json = null;
  try { json = text ? JSON.parse(text) : {}; } catch { /* an answer that is no JSON has its status */ }
  if (response.status === 401) signInAgain();
  if (!response.ok) throw new APIFailure(response.status, json);
  return json;
}

/** An element with attributes and children; texts are texts, never markup. */
export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  set(node, attributes, children);
  return node;
}

export function svg(name, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  set(node, attributes, children);
  return node;
}

function set(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
}

export function toast(text, kind = "") {
  const node = el("div", { class: `toast ${kind}` }, text);
  document.getElementById("toasts")?.append(node);
  setTimeout(() => node.remove(), kind === "bad" ? 12000 : 5000);
}

export const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** The value at `a.b.c` of an object. */
export const at = (object, path) => path.split(".").reduce((value, key) => value?.[key], object);

const absolute = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

export const localTime = (date) => absolute.format(date);

/** Times are written by the server in UTC; here in words, with the reader's own clock beside. */
export function tellTimes(root = document) {
  for (const node of root.querySelectorAll("time[datetime]")) {
    const date = new Date(node.dateTime);
    if (Number.isNaN(date.getTime())) continue;
    const seconds = (date - Date.now()) / 1000;
    const size = Math.abs(seconds);
    const [unit, length] = size < 60 ? ["second", 1] : size < 3600 ? ["minute", 60]
      : size < 86400 ? ["hour", 3600] : ["day", 86400];
    if (size < 86400 * 14) node.textContent = size < 5 ? "just now" : relative.format(Math.round(seconds / length), unit);
    node.title = `${absolute.format(date)} (${zone}), ${node.dateTime}`;
  }
}

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 999.5 && unit < units.length - 1) { count /= 1000; unit += 1; }
  return `${unit === 0 || count >= 9.95 ? Math.round(count) : count.toFixed(1)} ${units[unit]}`;
}

export const number = (value) => new Intl.NumberFormat("en").format(value);

/** Text as one argument of a shell. */
export const shell = (text) => /^[\w@%+=:,./^-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
