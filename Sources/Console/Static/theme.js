// Before the page is drawn: the theme chosen, else the system's.
(() => {
  const chosen = localStorage.getItem("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    document.documentElement.dataset.theme = localStorage.getItem("theme") ?? (dark.matches ? "dark" : "light");
  };
  if (chosen && !["dark", "light"].includes(chosen)) localStorage.removeItem("theme");
  apply();
  dark.addEventListener("change", apply);
})();
