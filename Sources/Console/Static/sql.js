// The SQL editor.
import { call, el, number, signInAgain } from "./base.js";
import { planView } from "./plan.js";

const form = document.getElementById("sql-form");
const area = document.getElementById("sql");
const results = document.getElementById("results");
const took = document.getElementById("took");
const when = document.getElementById("when");
const store = `history:${form.dataset.project}`;

const history = () => { try { return JSON.parse(localStorage.getItem(store) ?? "[]"); } catch { return []; } };

function remember(sql) {
  localStorage.setItem(store, JSON.stringify([sql, ...history().filter((one) => one !== sql)].slice(0, 60)));
  showHistory();
}

function showHistory() {
  document.getElementById("history").replaceChildren(...history().map((sql) => el("li", {},
    el("button", { type: "button", title: sql, onclick: () => { area.value = sql; area.focus(); } }, sql.replace(/\s+/g, " ")))));
}

function showWhen() {
  for (const node of form.querySelectorAll(".for-time")) node.hidden = when.value !== "time";
  for (const node of form.querySelectorAll(".for-lsn")) node.hidden = when.value !== "lsn";
  document.getElementById("past-note").hidden = when.value === "now";
}

function cells(row) {
  return row.map((value) => value === null ? el("td", { class: "null" }, "NULL") : el("td", { title: value.length > 46 ? value : null }, value));
}

function resultView(result, index) {
  const label = `Result ${index + 1}: ${result.command_tag}`;
  const note = result.is_truncated ? `, the first ${number(result.rows.length)} rows` : "";
  if (!result.columns.length) return el("p", { class: "result" }, el("span", { class: "badge good" }, result.command_tag || "done"));
  return el("div", { class: "result" }, el("p", { class: "quiet" }, `${result.command_tag || `${number(result.rows.length)} rows`}${note}`),
    el("div", { class: "scroll card", tabindex: "0", role: "region", "aria-label": label }, el("table", {},
      el("thead", {}, el("tr", {}, ...result.columns.map((column) => el("th", { scope: "col" }, column.name)))),
      el("tbody", {}, ...result.rows.map((row) => el("tr", {}, ...cells(row)))))));
}

/** The error, with the line it is in and a mark below the place. */
function errorView(error, sql) {
  const parts = [el("p", {}, el("b", {}, error.message), error.sqlstate ? ` (${error.sqlstate})` : "")];
  if (error.detail) parts.push(el("p", {}, error.detail));
  if (error.hint) parts.push(el("p", {}, `Hint: ${error.hint}`));
  if (error.position) {
    const before = [...sql].slice(0, error.position - 1).join("");
    const line = before.split("\n").length;
    const column = before.length - before.lastIndexOf("\n") - 1;
    parts.push(el("pre", { tabindex: "0" }, `line ${line}: ${sql.split("\n")[line - 1]}\n${" ".repeat(`line ${line}: `.length + column)}^`));
    area.setSelectionRange(before.length, before.length + 1);
  }
  return el("div", { class: "failure", role: "alert" }, ...parts);
}

function body(sql) {
  const data = new FormData(form);
  const made = { database_name: data.get("database_name"), role_name: data.get("role_name"), query: sql };
  if (when.value === "lsn") made.lsn = data.get("lsn");
  if (when.value === "time" && data.get("time")) made.timestamp = new Date(data.get("time")).toISOString();
  return made;
}

async function run(prefix = "") {
  const chosen = area.value.slice(area.selectionStart, area.selectionEnd).trim();
  const sql = (chosen.length > 1 ? chosen : area.value).trim();
  if (!sql) return area.focus();
  const buttons = form.querySelectorAll("button");
  for (const button of buttons) button.disabled = true;
  results.replaceChildren(el("p", { class: "quiet" }, when.value === "now" ? "Running… " : "Opening the moment… ", el("progress", { "aria-label": "Running" })));
  const branch = new FormData(form).get("branch");
  try {
    const made = body(prefix ? `${prefix} ${sql}` : sql);
    const answer = await call("POST", `/projects/${form.dataset.project}/branches/${branch}/query`, made);
    took.textContent = `${number(answer.duration_milliseconds)} ms`;
    const plan = prefix && answer.results[0]?.rows[0]?.[0];
    results.replaceChildren(...answer.notices.map((notice) => el("p", { class: "quiet" }, notice)),
      ...(plan ? [planView(JSON.parse(plan)[0])] : answer.results.map(resultView)));
    if (answer.error) results.append(errorView(answer.error, made.query));
    remember(sql);
  } catch (failure) {
    if (failure.status === 401) return signInAgain();
    results.replaceChildren(el("div", { class: "failure", role: "alert" }, failure instanceof TypeError ? "The server does not answer. Try again." : failure.message));
  } finally { for (const button of buttons) button.disabled = false; }
}

form.addEventListener("submit", (event) => { event.preventDefault(); run(); });
document.getElementById("explain").addEventListener("click", () => run("EXPLAIN (FORMAT JSON)"));
document.getElementById("analyze").addEventListener("click", () => run("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)"));
document.getElementById("forget").addEventListener("click", () => { localStorage.removeItem(store); showHistory(); });
area.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); run(); }
});
when.addEventListener("change", showWhen);
document.getElementById("sql-branch").addEventListener("change", (event) => {
  const url = new URL(location.href);
  url.searchParams.set("branch", event.target.value);
  location.assign(url);
});
showWhen();
showHistory();
if (area.value.trim() && when.value !== "now") run();
