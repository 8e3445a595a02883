// A branch's backup schedule, edited in place and saved line by line: what others change meanwhile stays.
import { call, el, toast } from "./base.js";
import { refresh } from "./app.js";

const form = document.getElementById("schedule");
const items = document.getElementById("items");
const save = document.getElementById("save-schedule");
const problem = document.getElementById("schedule-problem");
const path = `/projects/${form.dataset.project}/branches/${form.dataset.branch}/backup_schedule`;
const frequencies = ["hourly", "daily", "weekly", "monthly", "yearly"];
const units = [["86400", "days"], ["3600", "hours"], ["1", "seconds"]];

/** Of a line's element: the server's id of it, and what the fields said then. */
const known = new WeakMap();
/** Ids of lines that the server has and that shall go. */
const unwanted = new Set();

function select(name, values, chosen, label = name) {
  return el("select", { name, "aria-label": label }, ...values.map((one) => {
    const [value, text] = Array.isArray(one) ? one : [one, one];
    return el("option", { value, selected: value === chosen ? true : null }, text);
  }));
}

/** A time as a whole number of the largest unit that holds it. */
function keepTime(seconds) {
  const unit = units.find(([size]) => (seconds ?? 86400) % Number(size) === 0)[0];
  const offered = unit === "1" ? units : units.slice(0, 2);
  return [
    el("label", {}, "Keep", el("input", { name: "keep", type: "number", min: "1", placeholder: "for good", value: seconds ? seconds / Number(unit) : "" })),
    el("label", {}, "Unit", select("keep_unit", offered, unit, "Unit of the time to keep")),
  ];
}

function item(given = { frequency: "daily", hour: 3, kind: "snapshot", retention_seconds: 604800, time_zone: Intl.DateTimeFormat().resolvedOptions().timeZone }) {
  const row = el("div", { class: "item", role: "group", "aria-label": "Scheduled backup" });
  const frequency = select("frequency", frequencies, given.frequency);
  const hour = el("input", { name: "hour", type: "number", min: "0", max: "23", value: given.hour ?? 3 });
  const day = el("input", { name: "day", type: "number", min: "1", max: "31", value: given.day ?? 1 });
  const month = el("input", { name: "month", type: "number", min: "1", max: "12", value: given.month ?? 1 });
  const labels = { hour: el("label", {}, "Hour", hour), day: el("label", {}, "Day", day), month: el("label", {}, "Month", month) };
  const fit = () => {
    labels.hour.hidden = frequency.value === "hourly";
    labels.day.hidden = ["hourly", "daily"].includes(frequency.value);
    labels.month.hidden = frequency.value !== "yearly";
    day.max = frequency.value === "weekly" ? 7 : 31;
  };
  const remove = () => {
    if (known.has(row)) unwanted.add(known.get(row).id);
    row.remove();
    touch();
  };
  frequency.addEventListener("change", fit);
  row.append(el("label", {}, "What", select("kind", ["snapshot", "dump"], given.kind ?? "snapshot")), el("label", {}, "How often", frequency),
    labels.month, labels.day, labels.hour, ...keepTime(given.retention_seconds),
    el("label", {}, "Time zone", el("input", { name: "time_zone", value: given.time_zone ?? "UTC" })),
    el("button", { type: "button", class: "danger small", onclick: remove }, "Remove"));
  fit();
  if (given.id) known.set(row, { id: given.id, text: JSON.stringify(read(row)) });
  return row;
}

function touch() { save.hidden = false; }

function read(row) {
  const field = (name) => row.querySelector(`[name=${name}]`);
  const shown = (name) => !field(name).closest("label").hidden && field(name).value !== "";
  const made = { frequency: field("frequency").value, kind: field("kind").value, time_zone: field("time_zone").value || "UTC" };
  for (const name of ["hour", "day", "month"]) if (shown(name)) made[name] = Number(field(name).value);
  if (field("keep").value) made.retention_seconds = Number(field("keep").value) * Number(field("keep_unit").value);
  return made;
}

/** Removes what is not wanted; resolves to whether all of it was still there. */
async function removeUnwanted() {
  let wasThere = true;
  for (const id of [...unwanted]) {
    try {
      await call("DELETE", `${path}/items/${encodeURIComponent(id)}`);
    } catch (failure) {
      if (failure.code !== "schedule_item_not_found") throw failure;
      wasThere = false;
    }
    unwanted.delete(id);
  }
  return wasThere;
}

/** Adds what is new and removes what is not wanted. A changed line is a new one in the place of the old: first it is there, then the old one goes. */
async function store() {
  let wasThere = await removeUnwanted();
  for (const row of items.children) {
    const line = read(row);
    const text = JSON.stringify(line);
    const before = known.get(row);
    if (before?.text === text) continue;
    const { schedule } = await call("POST", `${path}/items`, line);
    known.set(row, { id: schedule.at(-1).id, text });
    if (before) unwanted.add(before.id);
  }
  wasThere = await removeUnwanted() && wasThere;
  show((await call("GET", path)).schedule);
  return wasThere;
}

function show(schedule) { items.replaceChildren(...schedule.map(item)); }

show(JSON.parse(form.dataset.items || "[]"));
form.addEventListener("input", touch);
document.getElementById("add-item").addEventListener("click", () => { items.append(item()); touch(); });
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  problem.textContent = "";
  save.disabled = true;
  try {
    const wasThere = await store();
    save.hidden = true;
    if (wasThere) toast("Schedule saved");
    else toast("Schedule saved. Somebody else changed it meanwhile: look at it again.", "bad");
    refresh();
  } catch (failure) { problem.textContent = failure.message; } finally { save.disabled = false; }
});
