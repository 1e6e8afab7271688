"use strict";
// Light or dark: the system's choice until the button is pressed; remembered where the browser lets a file remember.
const theme = {
  key: "ganealogy-theme",
  dark() {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  },
  set(name) {
    document.documentElement.dataset.theme = name;
    document.dispatchEvent(new Event("themechange"));
  },
};
try {
  const remembered = localStorage.getItem(theme.key);
  if (remembered) theme.set(remembered);
} catch { /* storage is forbidden for files in some browsers: the system's choice stands */ }
document.getElementById("theme").addEventListener("click", () => {
  const name = theme.dark() ? "light" : "dark";
  theme.set(name);
  try { localStorage.setItem(theme.key, name); } catch { /* as above */ }
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("themechange")));

function embedded(id) { return JSON.parse(document.getElementById(id).textContent); }
