// EXPLAIN's JSON as a tree.
import { el, number } from "./base.js";

export function planView(root) {
  const plan = root.Plan;
  const total = plan["Actual Total Time"] ?? plan["Total Cost"] ?? 0;
  const head = [];
  if (root["Planning Time"] !== undefined) head.push(`planning ${root["Planning Time"].toFixed(1)} ms`);
  if (root["Execution Time"] !== undefined) head.push(`execution ${root["Execution Time"].toFixed(1)} ms`);
  return el("section", { class: "card result", "aria-label": "Plan" }, el("p", { class: "quiet" }, head.join(", ") || "estimated, not run"),
    el("ul", { class: "plan" }, node(plan, total)));
}

function node(plan, total) {
  const on = plan["Relation Name"] ?? plan["Index Name"] ?? plan["CTE Name"] ?? plan["Function Name"];
  const isMeasured = plan["Actual Total Time"] !== undefined;
  const loops = plan["Actual Loops"] ?? 1;
  const children = plan.Plans ?? [];
  const own = isMeasured
    ? Math.max(0, plan["Actual Total Time"] * loops - children.reduce((sum, one) => sum + one["Actual Total Time"] * (one["Actual Loops"] ?? 1), 0))
    : Math.max(0, plan["Total Cost"] - children.reduce((sum, one) => sum + one["Total Cost"], 0));
  const bar = el("span", { class: "share", "aria-hidden": "true" });
  bar.style.width = `${total > 0 ? Math.round(own / total * 120) : 0}px`;
  const facts = isMeasured
    ? `${number(plan["Actual Rows"])} rows (expected ${number(plan["Plan Rows"])}), ${plan["Actual Total Time"].toFixed(2)} ms${loops > 1 ? ` × ${loops}` : ""}`
    : `${number(plan["Plan Rows"])} rows, cost ${plan["Total Cost"].toFixed(0)}`;
  const conditions = ["Index Cond", "Hash Cond", "Merge Cond", "Join Filter", "Filter", "Recheck Cond"].filter((one) => plan[one])
    .map((one) => el("div", { class: "cost mono" }, `${one}: ${plan[one]}`));
  return el("li", {}, el("b", {}, plan["Node Type"]), on ? ` on ${on}` : "", bar, el("div", { class: "cost" }, facts), ...conditions,
    children.length ? el("ul", {}, ...children.map((one) => node(one, total))) : null);
}
