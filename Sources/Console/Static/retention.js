// The retention slider: what another length would cost or take away, before it is chosen.
import { bytes, call, localTime, number } from "./base.js";

const form = document.getElementById("retention");
const slider = document.getElementById("retention-days");
const value = document.getElementById("retention-value");
const field = form.querySelector("[name=history_retention_seconds]");
const cost = document.getElementById("retention-cost");
const confirm = document.getElementById("retention-confirm");
let waiting = null;

slider.addEventListener("input", () => {
  const seconds = Number(slider.value) * 86400;
  field.value = String(seconds);
  value.textContent = seconds === 0 ? "none: moments are off" : `${slider.value} day${slider.value === "1" ? "" : "s"}`;
  const isShrinking = seconds < Number(form.dataset.now);
  confirm.hidden = !isShrinking;
  confirm.querySelector("input").required = isShrinking;
  if (!isShrinking) confirm.querySelector("input").checked = false;
  clearTimeout(waiting);
  waiting = setTimeout(() => tell(seconds), 200);
});

async function tell(seconds) {
  try {
    const found = await call("GET", `/projects/${form.dataset.project}/retention?history_retention_seconds=${seconds}`);
    const gone = found.cost;
    cost.textContent = gone
      ? `Gone would be the moments from ${localTime(Date.parse(gone.from))} to ${localTime(Date.parse(gone.to))}`
        + (gone.bytes === undefined ? "." : `: ${bytes(gone.bytes)} of history, ${number(gone.commits ?? 0)} commits.`) + " It begins an hour after, and can be cancelled until then."
      : "Nothing goes. A longer window keeps more history from now on, and brings nothing back.";
  } catch (failure) { cost.textContent = failure.message; }
}
