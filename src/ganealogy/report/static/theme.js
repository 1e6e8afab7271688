"use strict";
// Light or dark: the system's setting until the button is pressed; stored if the browser allows it for files.
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
} catch { /* some browsers forbid storage for files: use the system's setting */ }
document.getElementById("theme").addEventListener("click", () => {
  const name = theme.dark() ? "light" : "dark";
  theme.set(name);
  try { localStorage.setItem(theme.key, name); } catch { /* as above */ }
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("themechange")));

function embedded(id) { return JSON.parse(document.getElementById(id).textContent); }
