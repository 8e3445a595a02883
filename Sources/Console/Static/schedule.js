// A branch's backup schedule, edited in place.
import { call, el, toast } from "./base.js";
import { refresh } from "./app.js";

const form = document.getElementById("schedule");
const items = document.getElementById("items");
const save = document.getElementById("save-schedule");
const problem = document.getElementById("schedule-problem");
const frequencies = ["hourly", "daily", "weekly", "monthly", "yearly"];

function select(name, values, chosen) {
  return el("select", { name, "aria-label": name }, ...values.map((one) => {
    const [value, label] = Array.isArray(one) ? one : [one, one];
    return el("option", { value, selected: value === chosen ? true : null }, label);
  }));
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
  frequency.addEventListener("change", fit);
  row.append(el("label", {}, "What", select("kind", ["snapshot", "dump"], given.kind ?? "snapshot")), el("label", {}, "How often", frequency),
    labels.month, labels.day, labels.hour,
    el("label", {}, "Keep (days)", el("input", { name: "keep", type: "number", min: "1", value: given.retention_seconds ? Math.round(given.retention_seconds / 86400) : "" })),
    el("label", {}, "Time zone", el("input", { name: "time_zone", value: given.time_zone ?? "UTC" })),
    el("button", { type: "button", class: "danger small", onclick: () => { row.remove(); touch(); } }, "Remove"));
  fit();
  return row;
}

function touch() { save.hidden = false; }

function read() {
  return [...items.children].map((row) => {
    const field = (name) => row.querySelector(`[name=${name}]`);
    const shown = (name) => !field(name).closest("label").hidden && field(name).value !== "";
    const made = { frequency: field("frequency").value, kind: field("kind").value, time_zone: field("time_zone").value || "UTC" };
    for (const name of ["hour", "day", "month"]) if (shown(name)) made[name] = Number(field(name).value);
    if (field("keep").value) made.retention_seconds = Number(field("keep").value) * 86400;
    return made;
  });
}

items.replaceChildren(...JSON.parse(form.dataset.items || "[]").map(item));
form.addEventListener("input", touch);
document.getElementById("add-item").addEventListener("click", () => { items.append(item()); touch(); });
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  problem.textContent = "";
  save.disabled = true;
  try {
    await call("PUT", `/projects/${form.dataset.project}/branches/${form.dataset.branch}/backup_schedule`, { schedule: read() });
    save.hidden = true;
    toast("Schedule saved");
    refresh();
  } catch (failure) { problem.textContent = failure.message; } finally { save.disabled = false; }
});
