// The moment chosen, and what can be done there.
import { bytes, call, el, localTime, number, toast } from "./base.js";

const place = document.getElementById("timeline");
const panel = document.getElementById("moment");
const text = document.getElementById("moment-text");
const cost = document.getElementById("moment-cost");
const answer = document.getElementById("answer");
const base = `/projects/${place.dataset.project}/branches/${place.dataset.branch}`;
let chosen = null;

/** Chooses a moment, by LSN or by time in milliseconds, and tells what opening it takes. */
export async function choose(lsn, when, why, object) {
  panel.hidden = false;
  document.getElementById("no-moment").hidden = true;
  answer.replaceChildren();
  text.replaceChildren(el("b", {}, why || "The chosen moment"));
  cost.textContent = "Looking…";
  setActs(false);
  try {
    const query = new URLSearchParams(lsn ? { lsn } : { timestamp: new Date(when).toISOString() });
    const found = await call("GET", `${base}/moment?${query}`);
    chosen = { lsn: found.lsn, when };
    const at = [when ? localTime(when) : "", found.lsn].filter(Boolean).join(", ");
    text.append(el("br"), el("span", { class: "mono" }, at));
    cost.textContent = `Opening it takes about ${(found.opening_milliseconds / 1000).toFixed(1)} s (${bytes(found.tail_bytes)} of WAL behind the nearest image).`;
    apply(at, object);
    setActs(true);
    document.getElementById("moment-title").focus({ preventScroll: true });
    panel.scrollIntoView({ block: "nearest" });
  } catch (failure) {
    chosen = null;
    cost.textContent = "";
    text.append(el("p", { class: "problem", role: "alert" }, failure.message));
  }
}

function setActs(isReady) {
  for (const button of panel.querySelectorAll(".acts button")) button.disabled = !isReady;
}

function apply(at, object) {
  for (const field of document.querySelectorAll("[data-moment]")) field.value = chosen.lsn;
  for (const node of document.querySelectorAll("dialog .at")) node.textContent = at;
  const link = document.getElementById("act-query");
  const url = new URL(link.href);
  url.searchParams.set("lsn", chosen.lsn);
  if (object && object.type.includes("table")) {
    const name = `${quoted(object.schema)}.${quoted(object.name)}`;
    for (const field of document.querySelectorAll(".table-name")) field.value = name;
    for (const select of document.querySelectorAll("#act-table select[name=database], #act-rows select[name=db_name]")) select.value = object.database;
    url.searchParams.set("sql", `SELECT * FROM ${name} LIMIT 100`);
    url.searchParams.set("database", object.database);
  }
  link.href = url;
}

const quoted = (name) => /^[a-z_][a-z0-9_$]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`;

function diffView(diff) {
  if (!diff) return el("p", { class: "quiet" }, "The schema is the same.");
  return el("pre", { class: "diff", tabindex: "0" }, ...diff.split("\n").map((line) => el("span", {
    class: line.startsWith("+") ? "plus" : line.startsWith("-") ? "minus" : line.startsWith("@@") ? "hunk" : "",
  }, `${line}\n`)));
}

async function working(button, label, work) {
  button.disabled = true;
  answer.replaceChildren(el("p", { class: "quiet" }, label, " ", el("progress", { "aria-label": label })));
  try { answer.replaceChildren(...await work()); } catch (failure) {
    answer.replaceChildren(el("p", { class: "problem", role: "alert" }, failure.message));
  } finally { button.disabled = false; }
}

document.getElementById("act-schema").addEventListener("click", (event) => {
  const database = document.querySelector("#act-rows select[name=db_name]").value;
  working(event.currentTarget, "Comparing schemas…", async () => {
    const query = new URLSearchParams({ db_name: database, base_lsn: chosen.lsn });
    const { diff } = await call("GET", `${base}/compare_schema?${query}`);
    return [el("h3", {}, `Schema of ${database}: then (−) and now (+)`), diffView(diff)];
  });
});

document.getElementById("rows-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.currentTarget;
  form.closest("dialog").close();
  working(form.querySelector(".primary"), "Comparing rows…", async () => {
    const query = new URLSearchParams({ ...Object.fromEntries(new FormData(form)), lsn: chosen.lsn });
    const { comparison: found } = await call("GET", `${base}/compare_rows?${query}`);
    const sums = `${number(found.rows_then)} rows then, ${number(found.rows_now)} now: ${number(found.removed)} gone, ${number(found.added)} new, ${number(found.changed)} changed.`;
    const note = [found.is_there_now ? "" : "The table is not there now. ", found.is_truncated ? "Only the first 20,000 rows were compared. " : ""].join("");
    return [el("h3", {}, found.table), el("p", {}, note, sums), rowsView(found.rows)];
  });
});

function rowsView(rows) {
  if (!rows.length) return el("p", { class: "quiet" }, "No row differs.");
  return el("div", { class: "scroll result", tabindex: "0", role: "region", "aria-label": "Rows that differ" }, el("table", {},
    el("thead", {}, el("tr", {}, ...["Change", "Then", "Now"].map((one) => el("th", { scope: "col" }, one)))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, el("td", {}, row.change), el("td", {}, row.then ?? ""), el("td", {}, row.now ?? ""))))));
}

const kind = document.getElementById("typed-kind");
kind.addEventListener("change", () => {
  for (const node of document.querySelectorAll("#typed .for-time")) node.hidden = kind.value !== "time";
  for (const node of document.querySelectorAll("#typed .for-lsn")) node.hidden = kind.value !== "lsn";
});

document.getElementById("typed").addEventListener("submit", (event) => {
  event.preventDefault();
  const problem = document.getElementById("typed-problem");
  problem.textContent = "";
  const lsn = document.getElementById("typed-lsn").value.trim();
  const typed = document.getElementById("typed-time").value;
  if (kind.value === "lsn") {
    if (!/^[0-9a-f]{1,8}\/[0-9a-f]{1,8}$/i.test(lsn)) { problem.textContent = "An LSN looks like 0/1A2B3C."; return; }
    choose(lsn, null, "");
  } else if (kind.value === "time") {
    if (!typed) { problem.textContent = "Enter a date and a time."; return; }
    const isUTC = document.getElementById("typed-zone").value === "utc";
    choose(null, Date.parse(isUTC ? `${typed}Z` : typed), "");
  } else {
    call("GET", base).then(({ branch }) => choose(branch.restore_window?.latest_lsn, Date.parse(branch.restore_window?.latest_timestamp), "Head"))
      .catch((failure) => toast(failure.message, "bad"));
  }
});
