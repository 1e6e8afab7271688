"use strict";
// Pictures: one seed for all, sliders over training, interpolations between latents.
(() => {
  const samples = embedded("sample-data"), frames = embedded("frame-data");
  const neighbours = embedded("neighbour-data"), strips = embedded("strip-data"), walks = embedded("walk-data");
  const all = (selector) => [...document.querySelectorAll(selector)];
  const radios = all(".seeds:not(.axis) input");
  let seed = radios.length ? radios[0].value : Object.keys({ ...samples, ...frames })[0]?.split("-").pop();
  document.body.dataset.seed = seed ?? "";

  function show(image, uri) {
    image.hidden = !uri;
    if (uri) image.src = uri; else image.removeAttribute("src");
    const blank = image.closest("figure")?.querySelector(".blank");
    if (blank) blank.hidden = Boolean(uri);
  }

  // Sliders over training
  const cards = all("[data-training]");
  const master = document.getElementById("tick-all");
  function frame(card) {
    const series = frames[`${card.dataset.training}-${seed}`] ?? [];
    const slider = card.querySelector("input");
    const at = series[Math.min(Number(slider.value), series.length - 1)];  // a diverged run shows its last grid
    show(card.querySelector("img"), at?.uri);
    card.querySelector("output").textContent = at?.label ?? "";
    slider.setAttribute("aria-valuetext", at?.label ?? "no grid");
  }
  function showTick(tick) {
    master.value = tick;
    document.getElementById("tick-label").textContent = `tick ${tick} of ${master.max}`;
    for (const card of cards) { card.querySelector("input").value = tick; frame(card); }
  }
  for (const card of cards) card.querySelector("input").addEventListener("input", () => frame(card));
  master?.addEventListener("input", () => { stop(); showTick(Number(master.value)); });

  const play = document.getElementById("play");
  let timer = 0;
  function stop() { clearInterval(timer); timer = 0; play?.setAttribute("aria-pressed", "false"); if (play) play.textContent = "Play"; }
  play?.addEventListener("click", () => {
    if (timer) return stop();
    if (master.value === master.max) showTick(0);
    play.setAttribute("aria-pressed", "true");
    play.textContent = "Pause";
    timer = setInterval(() => {
      if (master.value === master.max) return stop();
      showTick(Number(master.value) + 1);
    }, 500);
  });

  // Interpolations start as still images, for people whom motion disturbs
  const button = document.getElementById("walks");
  function walk() {
    const moving = button?.getAttribute("aria-pressed") === "true";
    for (const image of all("[data-walk]")) show(image, moving ? walks[`${image.dataset.walk}-${seed}`] : null);
    for (const image of all("[data-strip]")) {
      const key = `${image.dataset.strip}-${seed}`;
      show(image, moving && walks[key] ? null : strips[key]);
    }
  }
  button?.addEventListener("click", () => {
    const moving = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(moving));
    button.textContent = moving ? "Stop" : "Animate";
    walk();
  });

  cards.forEach(frame);
  walk();

  // One seed for all
  for (const radio of radios) radio.addEventListener("change", () => {
    seed = radio.value;
    document.body.dataset.seed = seed;
    for (const other of radios) other.checked = other.value === seed;
    for (const image of all("[data-sample]")) show(image, samples[`${image.dataset.sample}-${seed}`]);
    for (const image of all("[data-neighbours]")) show(image, neighbours[`${image.dataset.neighbours}-${seed}`]);
    cards.forEach(frame);
    walk();
  });
  for (const image of all("[data-portrait]")) image.src = samples[image.dataset.portrait];
})();
