"use strict";
const config = JSON.parse(document.getElementById("config").textContent);
const element = (id) => document.getElementById(id);
const walks = [...document.querySelectorAll("[data-walk]")];
const canvases = [...document.querySelectorAll("#images canvas")];

// Uniform numbers in (0, 1): sfc32 (Chris Doty-Humphrey's PractRand), seeded by splitmix32; equal on all machines.
function randomNumbers(seed) {
  let state = seed >>> 0;
  const word = () => {
    state = (state + 0x9e3779b9) >>> 0;
    let x = state;
    x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
    x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
    return (x ^ (x >>> 15)) >>> 0;
  };
  let a = word(), b = word(), c = word(), d = 1;
  const next = () => {
    const t = (((a + b) >>> 0) + d) >>> 0;
    d = (d + 1) >>> 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) >>> 0;
    c = ((c << 21) | (c >>> 11)) >>> 0;
    c = (c + t) >>> 0;
    return (t + 0.5) / 4294967296; // never 0 or 1
  };
  for (let i = 0; i < 12; i++) next();
  return next;
}

// Latents (count x size), row by row: N(0, 1) by Box and Muller, or U(-1, 1).
function latents(seed, count) {
  const next = randomNumbers(seed), drawn = new Float32Array(count * config.size);
  if (config.distribution === "uniform") return drawn.map(() => 2 * next() - 1);
  for (let i = 0; i < drawn.length; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(next())), angle = 2 * Math.PI * next();
    drawn[i] = radius * Math.cos(angle);
    if (i + 1 < drawn.length) drawn[i + 1] = radius * Math.sin(angle);
  }
  return drawn;
}

// Move latents along the directions. A normal latent keeps its length, as in training; a uniform one stays in its cube.
function moveLatents(z, steps) {
  if (steps.every((step) => step === 0)) return z;
  const moved = Float32Array.from(z), d = config.size;
  for (let row = 0; row < z.length; row += d) {
    let before = 0, after = 0;
    for (let i = 0; i < d; i++) {
      before += z[row + i] ** 2;
      steps.forEach((step, k) => { moved[row + i] += step * config.directions[k][i]; });
      after += moved[row + i] ** 2;
    }
    for (let i = 0; i < d; i++) {
      if (config.distribution === "uniform") moved[row + i] = Math.max(-1, Math.min(1, moved[row + i]));
      else moved[row + i] *= Math.sqrt(before / after);
    }
  }
  return moved;
}

async function unpack(id) {
  const holder = element(id), text = atob(holder.textContent);
  holder.remove(); // free megabytes of text
  const stream = new Blob([Uint8Array.from(text, (letter) => letter.charCodeAt(0))]).stream();
  return new Uint8Array(await new Response(stream.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
}

// Settings for a page opened from a file: no workers or threads, the glue as a blob, the binary passed directly.
async function load() {
  const [glue, binary, model] = await Promise.all(["glue", "binary", "model"].map(unpack));
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.proxy = false;
  ort.env.wasm.wasmBinary = binary;
  ort.env.wasm.wasmPaths = { mjs: URL.createObjectURL(new Blob([glue], { type: "text/javascript" })) };
  ort.env.logLevel = "error";
  return ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
}

let session = null;

// Latents (count x size) and classes (count) → floats (count, C, H, W), black at -1 and white at 1.
async function generate(z, classes) {
  const count = z.length / config.size;
  const inputs = { latents: new ort.Tensor("float32", z, [count, config.size]) };
  if (config.classes) inputs.labels = new ort.Tensor("int64", BigInt64Array.from(classes, BigInt), [count]);
  return (await session.run(inputs)).images.data;
}

function paint(canvas, image) { // (C, H, W)
  const pixels = config.side ** 2, context = canvas.getContext("2d"), picture = context.createImageData(config.side, config.side);
  for (let i = 0; i < pixels; i++) {
    for (let channel = 0; channel < 3; channel++) {
      picture.data[4 * i + channel] = Math.round((image[(config.channels === 1 ? 0 : channel) * pixels + i] + 1) * 127.5);
    }
    picture.data[4 * i + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
}

// The controls hold the state; the URL has a copy that can be shared.
const selectedClass = () => (config.classes ? element("class").value : "");
function writeUrl() {
  const state = new URLSearchParams({ seed: element("seed").value, temperature: element("temperature").value });
  const steps = walks.map((slider) => slider.value);
  if (steps.some((step) => Number(step) !== 0)) state.set("walk", steps.join(","));
  if (selectedClass() !== "") state.set("class", selectedClass());
  try { history.replaceState(null, "", `#${state}`); } catch { location.hash = state; }
}
function readUrl() {
  const state = new URLSearchParams(location.hash.slice(1));
  const seed = Number(state.get("seed"));
  element("seed").value = state.has("seed") && Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32 ? seed : newSeed();
  element("temperature").value = state.has("temperature") && Number.isFinite(Number(state.get("temperature"))) ? state.get("temperature") : 1;
  const steps = (state.get("walk") || "").split(",");
  walks.forEach((slider, k) => { slider.value = Number.isFinite(Number(steps[k])) ? Number(steps[k]) : 0; });
  if (config.classes) element("class").value = /^\d+$/.test(state.get("class") || "") && Number(state.get("class")) < config.classes ? state.get("class") : "";
}
const newSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] % 1000000; // at most six digits

let drawing = false, again = false;
async function draw() {
  for (const slider of document.querySelectorAll("input[type=range]")) {
    const value = Number(slider.value);
    slider.nextElementSibling.value = slider.id === "temperature" ? value.toFixed(2) : value.toFixed(1);
  }
  if (drawing || session === null) { again = true; return; } // one at a time: sliders move faster than the network runs
  drawing = true;
  try {
    do {
      again = false;
      const seed = Number(element("seed").value) >>> 0, temperature = Number(element("temperature").value);
      const began = performance.now();
      const z = moveLatents(latents(seed, config.images), walks.map((slider) => Number(slider.value))).map((x) => x * temperature);
      const classes = Array.from({ length: config.images }, (_, i) => (selectedClass() === "" ? i % Math.max(1, config.classes) : Number(selectedClass())));
      const images = await generate(z, classes), length = images.length / config.images;
      canvases.forEach((canvas, i) => paint(canvas, images.subarray(i * length, (i + 1) * length)));
      element("status").textContent = `${config.images} images in ${Math.round(performance.now() - began)} ms`;
      document.body.dataset.drawn = Number(document.body.dataset.drawn || 0) + 1;
    } while (again);
  } finally { drawing = false; }
}

function showError(error) {
  element("status").className = "error";
  element("status").textContent = `This browser cannot run the generator: ${error && error.message || error}`;
}
const redraw = () => { writeUrl(); draw().catch(showError); };

element("new").addEventListener("click", () => { element("seed").value = newSeed(); redraw(); });
element("reset").addEventListener("click", () => { walks.forEach((slider) => { slider.value = 0; }); redraw(); });
for (const control of document.querySelectorAll("input, select")) control.addEventListener("input", redraw);
addEventListener("hashchange", () => { readUrl(); draw().catch(showError); });
if (navigator.clipboard) {
  element("share").hidden = false;
  element("share").addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(location.href); element("status").textContent = "Link copied."; } catch { element("status").textContent = `The link: ${location.href}`; }
  });
}
element("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("ganealogy-theme", root.dataset.theme); } catch { /* storage may be disabled for files */ }
});
try {
  const stored = localStorage.getItem("ganealogy-theme");
  if (stored) document.documentElement.dataset.theme = stored;
} catch { /* the system's setting applies */ }

readUrl();
writeUrl();
load().then((loaded) => { session = loaded; element("new").disabled = false; return draw(); }).catch(showError);
