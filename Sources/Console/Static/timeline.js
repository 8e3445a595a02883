// The strip: a branch's restore window, zoomable, drawn from the API's timeline.
import { bytes, call, el, localTime, number, svg, tellTimes } from "./base.js";
import { choose } from "./past.js";

const place = document.getElementById("timeline");
const strip = document.getElementById("strip");
const hover = document.getElementById("hover");
const list = document.getElementById("events");
const base = `/projects/${place.dataset.project}/branches/${place.dataset.branch}`;
const losses = new Set(["drop", "replace", "delete", "drop_database"]);

let whole = null;      // of the whole window
let shown = null;      // what is drawn
let cursor = null;     // milliseconds
let details = new Map();

const time = (text) => Date.parse(text);
const width = () => strip.clientWidth || 800;
const from = () => time(shown.from);
const to = () => Math.max(time(shown.to), from() + 1000);
const x = (moment) => (moment - from()) / (to() - from()) * width();
const moment = (place) => from() + place / width() * (to() - from());

async function load(start, end) {
  const query = new URLSearchParams({ buckets: String(Math.min(480, Math.max(60, Math.floor(width() / 3)))) });
  if (start) query.set("from", new Date(start).toISOString());
  if (end) query.set("to", new Date(end).toISOString());
  const { timeline } = await call("GET", `${base}/timeline?${query}`);
  if (!start && !end) whole = timeline;
  shown = timeline;
  cursor = cursor === null ? to() : Math.min(Math.max(cursor, from()), to());
  draw();
  return timeline;
}

function ticks() {
  const span = (to() - from()) / 1000;
  const steps = [1, 5, 15, 60, 300, 900, 1800, 3600, 10800, 21600, 43200, 86400, 172800, 604800];
  const step = (steps.find((one) => span / one <= Math.max(3, width() / 110)) ?? 2592000) * 1000;
  const offset = new Date().getTimezoneOffset() * 60000;
  const marks = [];
  for (let one = Math.ceil((from() - offset) / step) * step + offset; one < to(); one += step) marks.push(one);
  const format = new Intl.DateTimeFormat(undefined, step >= 86400000 ? { month: "short", day: "numeric" }
    : step >= 60000 ? { hour: "2-digit", minute: "2-digit", ...(span > 86400 ? { day: "numeric", month: "short" } : {}) }
      : { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  return marks.map((one) => [one, format.format(one)]);
}

function draw() {
  const started = performance.now();
  const [top, base, wide] = [30, 150, width()];
  const picture = svg("svg", { viewBox: `0 0 ${wide} 214`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const slot = Math.max(1, shown.bucket_seconds * 1000 / (to() - from()) * wide);
  const most = Math.max(1, ...shown.buckets.map((one) => one.commits));
  const heaviest = Math.max(1, ...shown.buckets.map((one) => one.wal_bytes));
  const bars = { commits: "", wal: "" };
  for (const bucket of shown.buckets) {
    const start = x(time(bucket.start));
    const left = Math.max(0, start);
    const high = Math.sqrt(bucket.wal_bytes / heaviest) * (base - top);
    const tall = Math.sqrt(bucket.commits / most) * (base - top);
    const thick = Math.max(1, Math.min(wide, start + slot - 0.6) - left);
    if (high > 0.3) bars.wal += `M${left.toFixed(1)} ${base}v${(-high).toFixed(1)}h${thick.toFixed(1)}v${high.toFixed(1)}z`;
    if (tall > 0.3) bars.commits += `M${left.toFixed(1)} ${base}v${(-tall).toFixed(1)}h${Math.max(1, thick * 0.55).toFixed(1)}v${tall.toFixed(1)}z`;
  }
  picture.append(svg("path", { d: bars.wal, class: "wal" }), svg("path", { d: bars.commits, class: "commits" }));
  picture.append(svg("path", { d: `M0 ${base}H${wide}`, class: "grid" }));
  const frames = shown.keyframes.map((one) => x(time(one.timestamp))).filter((one) => one >= 0 && one <= wide);
  picture.append(svg("path", { d: frames.map((one) => `M${one.toFixed(1)} ${base}v7`).join(""), class: "frame" }));
  for (const [one, label] of ticks()) {
    const place = x(one);
    if (place < 20 || place > wide - 20) continue;
    picture.append(svg("path", { d: `M${place} ${top}V${base}`, class: "grid" }), svg("text", { x: place, y: 204, class: "mid" }, label));
  }
  for (const event of [...shown.events].reverse()) drawEvent(picture, event);
  drawMarks(picture, shown.snapshots, (at) => `M${at} 169l6 6l-6 6l-6 -6z`);
  drawMarks(picture, shown.dumps, (at) => `M${at - 5} 170h10v10h-10z`);
  drawMarks(picture, shown.children, (at) => `M${at - 5} 175a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z`);
  drawMarks(picture, shown.restores, (at) => `M${at - 6} 175l10 -6v12z`);
  picture.append(svg("path", { d: "", class: "cursor", id: "cursor-line" }), svg("path", { d: "", class: "chosen", id: "chosen-line" }));
  strip.replaceChildren(picture);
  moveCursor(cursor, false);
  drawChosen();
  place.dataset.drawn = String(Math.round(performance.now() - started));
}

function drawEvent(picture, event) {
  const place = x(time(event.timestamp));
  if (place < -6 || place > width() + 6) return;
  const isLoss = losses.has(event.kind);
  if (!isLoss && event.kind === "create" && shown.events.length > 200) return;
  const y = isLoss ? 22 : 26;
  const size = isLoss ? 7 : 4;
  picture.append(svg("path", {
    d: `M${place - size} ${y - size * 1.5}h${size * 2}L${place} ${y}z`, class: isLoss ? "loss" : "change",
    onclick: (click) => { click.stopPropagation(); before(event).catch((failure) => { hover.textContent = failure.message; }); },
  }, svg("title", {}, title(event))));
}

function drawMarks(picture, marks, shape) {
  for (const mark of marks) {
    const place = x(time(mark.timestamp));
    if (place < 0 || place > width()) continue;
    picture.append(svg("path", {
      d: shape(place), class: "mark",
      onclick: (click) => { click.stopPropagation(); choose(mark.lsn, time(mark.timestamp), mark.name); },
    }, svg("title", {}, mark.name)));
  }
}

let chosenAt = null;
function drawChosen() {
  const line = document.getElementById("chosen-line");
  if (line && chosenAt !== null) line.setAttribute("d", `M${x(chosenAt)} 0V172`);
}

/** The position of a time, from the bucket that holds it. */
function lsnAt(when) {
  let found = shown.window.earliest_lsn;
  for (const bucket of shown.buckets) { if (time(bucket.start) > when) break; found = bucket.lsn; }
  return found;
}

const position = (lsn) => lsn.split("/").reduce((sum, part) => sum * 2 ** 32 + Number.parseInt(part, 16), 0);

function openingTime(when) {
  const here = position(lsnAt(when));
  const images = shown.keyframes.map((one) => position(one.lsn)).filter((one) => one <= here);
  const tail = images.length ? here - Math.max(...images) : 0;
  return ((700 + tail / 100000) / 1000).toFixed(1);
}

function moveCursor(when, tells = true) {
  cursor = Math.min(Math.max(when, from()), to());
  document.getElementById("cursor-line")?.setAttribute("d", `M${x(cursor)} ${8}V172`);
  const bucket = shown.buckets.findLast((one) => time(one.start) <= cursor);
  const inside = bucket && time(bucket.start) + shown.bucket_seconds * 1000 > cursor;
  const work = inside ? `, ${number(bucket.commits)} commits, ${bytes(bucket.wal_bytes)} WAL` : "";
  const text = `${localTime(cursor)}, about ${lsnAt(cursor)}, opens in about ${openingTime(cursor)} s${work}`;
  hover.textContent = text;
  strip.setAttribute("aria-valuenow", String(Math.round((cursor - from()) / (to() - from()) * 100)));
  if (tells) strip.setAttribute("aria-valuetext", text);
}

function zoom(factor, around = cursor) {
  const [first, last] = [time(whole.from), Math.max(Date.now(), time(whole.to))];
  const span = Math.min(last - first, Math.max(60000, (to() - from()) * factor));
  let start = around - (around - from()) / (to() - from()) * span;
  start = Math.min(Math.max(start, first), last - span);
  return view(start, start + span);
}

let pending = null;
function view(start, end) {
  clearTimeout(pending);
  pending = setTimeout(() => load(start, end).catch((failure) => { hover.textContent = failure.message; }), 60);
}

const titles = { drop: "Dropped", replace: "Emptied or rewritten", create: "Made", delete: "Rows deleted", drop_database: "Database dropped", create_database: "Database made" };
const key = (event) => `${event.lsn} ${event.relation ?? ""}`;

function title(event) {
  const known = details.get(key(event))?.title ?? event.title;
  if (known) return known;
  if (event.kind === "delete") return `${number(event.rows)} rows deleted`;
  return `${titles[event.kind]}: ${event.files} file${event.files === 1 ? "" : "s"}`;
}

async function look(event) {
  if (details.has(key(event))) return details.get(key(event));
  const query = new URLSearchParams({ lsn: event.lsn });
  if (event.relation) query.set("relation", event.relation);
  const { event: found } = await call("GET", `${base}/timeline/event?${query}`);
  details.set(key(event), found);
  return found;
}

/** One click: the moment just before an event. What cannot be named is gone back before all the same. */
async function before(event) {
  let found = null;
  try { found = await look(event); } catch (failure) { if (event.kind === "delete") throw failure; }
  chosenAt = time(found?.timestamp ?? event.timestamp);
  drawChosen();
  choose(found?.lsn ?? event.lsn, chosenAt, `Just before: ${found?.title ?? title(event)}`, found?.objects?.[0]);
}

function isWanted(event) {
  return losses.has(event.kind) ? document.getElementById("show-losses").checked : document.getElementById("show-changes").checked;
}

function row(event) {
  const text = el("span", {}, title(event));
  const item = el("li", { class: losses.has(event.kind) ? "loss" : "change", "data-key": key(event) },
    el("span", { class: "dot", "aria-hidden": "true" }),
    el("div", { class: "what" }, text, el("div", { class: "when" }, el("time", { datetime: event.timestamp }, localTime(time(event.timestamp))))),
    el("button", { type: "button", class: "small", onclick: async (click) => {
      const button = click.currentTarget;
      button.disabled = true;
      try { await before(event); } catch (failure) { text.textContent = failure.message; } finally { button.disabled = false; }
    } }, "Just before this"));
  return item;
}

function fill() {
  const events = whole.events.filter(isWanted).slice(0, 100);
  list.replaceChildren(...events.map(row));
  if (!events.length) list.append(el("li", { class: "quiet" }, "Nothing was dropped, emptied or deleted in bulk within the window."));
  if (whole.events_left_out) list.append(el("li", { class: "quiet" }, `${number(whole.events_left_out)} older events: zoom in to see them.`));
  list.setAttribute("aria-busy", "false");
  tellTimes(list);
}

/** Names the newest losses, one after the other: each is looked up at the moment before it. */
async function name() {
  for (const event of whole.events.filter((one) => losses.has(one.kind)).slice(0, 8)) {
    if (event.title && event.kind !== "delete") continue;
    try {
      const found = await look(event);
      const item = list.querySelector(`[data-key="${CSS.escape(key(event))}"]`);
      if (item) item.querySelector(".what > span").textContent = found.title;
    } catch { /* the row says what is known without */ }
  }
}

strip.addEventListener("pointermove", (event) => shown && moveCursor(moment(event.clientX - strip.getBoundingClientRect().left), false));
strip.addEventListener("click", (event) => {
  if (!shown) return;
  moveCursor(moment(event.clientX - strip.getBoundingClientRect().left));
  pick();
});
strip.addEventListener("wheel", (event) => {
  if (!shown || !event.ctrlKey && Math.abs(event.deltaX) > Math.abs(event.deltaY)) return;
  if (!event.ctrlKey && !event.shiftKey) return;
  event.preventDefault();
  zoom(event.deltaY > 0 ? 1.4 : 0.7, moment(event.clientX - strip.getBoundingClientRect().left));
}, { passive: false });

function pick() {
  chosenAt = cursor;
  drawChosen();
  choose(null, cursor, "");
}

strip.addEventListener("keydown", (event) => {
  if (!shown) return;
  const step = shown.bucket_seconds * 1000 * (event.shiftKey ? 10 : 1);
  const keys = {
    ArrowLeft: () => moveCursor(cursor - step), ArrowRight: () => moveCursor(cursor + step),
    Home: () => moveCursor(from()), End: () => moveCursor(to()),
    "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), Enter: pick, " ": pick,
  };
  if (!keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
});

place.addEventListener("click", (event) => {
  const { span, zoom: factor, move } = event.target.dataset;
  if (!shown) return;
  if (factor) zoom(Number(factor));
  else if (move) {
    const by = Number(move) * (to() - from());
    const first = time(whole.from);
    const start = Math.max(first, Math.min(from() + by, time(whole.to) - (to() - from())));
    view(start, start + (to() - from()));
  } else if (span === "0") load();
  else if (span) view(Math.max(time(whole.from), Date.now() - Number(span) * 1000), Date.now());
});

document.getElementById("branch-select").addEventListener("change", (event) => {
  location.assign(`${event.target.dataset.base}${encodeURIComponent(event.target.value)}/timeline`);
});
for (const id of ["show-losses", "show-changes"]) document.getElementById(id).addEventListener("change", () => whole && fill());
let resizing = null;
addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(() => shown && draw(), 120); });

load().then(() => { fill(); if (place.dataset.lsn) choose(place.dataset.lsn, null, ""); return name(); })
  .catch((failure) => {
    list.replaceChildren(el("li", { class: "problem" }, failure.message));
    list.setAttribute("aria-busy", "false");
  });
