"use strict";
const facts = JSON.parse(document.getElementById("facts").textContent);
const element = (id) => document.getElementById(id);
const walks = [...document.querySelectorAll("[data-walk]")];
const canvases = [...document.querySelectorAll("#faces canvas")];

// Numbers from a seed: sfc32 (Chris Doty-Humphrey's PractRand), seeded by splitmix32; the same on every machine.
function numbers(seed) {
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
    return (t + 0.5) / 4294967296; // within (0, 1), the ends left out
  };
  for (let i = 0; i < 12; i++) next();
  return next;
}

// (count x size) latents, row by row: N(0, 1) by Box and Muller, or U(-1, 1).
function latents(seed, count) {
  const next = numbers(seed), drawn = new Float32Array(count * facts.size);
  if (facts.distribution === "uniform") return drawn.map(() => 2 * next() - 1);
  for (let i = 0; i < drawn.length; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(next())), angle = 2 * Math.PI * next();
    drawn[i] = radius * Math.cos(angle);
    if (i + 1 < drawn.length) drawn[i + 1] = radius * Math.sin(angle);
  }
  return drawn;
}

// Latents moved along the directions. A normal latent keeps its length, which is where the generator was trained;
// a uniform one stays within its cube.
function walked(z, steps) {
  if (steps.every((step) => step === 0)) return z;
  const moved = Float32Array.from(z), d = facts.size;
  for (let row = 0; row < z.length; row += d) {
    let before = 0, after = 0;
    for (let i = 0; i < d; i++) {
      before += z[row + i] ** 2;
      steps.forEach((step, k) => { moved[row + i] += step * facts.directions[k][i]; });
      after += moved[row + i] ** 2;
    }
    for (let i = 0; i < d; i++) {
      if (facts.distribution === "uniform") moved[row + i] = Math.max(-1, Math.min(1, moved[row + i]));
      else moved[row + i] *= Math.sqrt(before / after);
    }
  }
  return moved;
}

async function unpack(id) {
  const holder = element(id), text = atob(holder.textContent);
  holder.remove(); // megabytes of text that nobody needs twice
  const stream = new Blob([Uint8Array.from(text, (letter) => letter.charCodeAt(0))]).stream();
  return new Uint8Array(await new Response(stream.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
}

// What works from a file: no workers, no threads, the glue as a blob, the binary handed over.
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

// Latents (count x size) and classes (count) → images as floats (count, C, H, W), black at -1 and white at 1.
async function generate(z, classes) {
  const count = z.length / facts.size;
  const inputs = { latents: new ort.Tensor("float32", z, [count, facts.size]) };
  if (facts.classes) inputs.labels = new ort.Tensor("int64", BigInt64Array.from(classes, BigInt), [count]);
  return (await session.run(inputs)).images.data;
}

function paint(canvas, image) { // (C, H, W)
  const pixels = facts.side ** 2, context = canvas.getContext("2d"), picture = context.createImageData(facts.side, facts.side);
  for (let i = 0; i < pixels; i++) {
    for (let channel = 0; channel < 3; channel++) {
      picture.data[4 * i + channel] = Math.round((image[(facts.channels === 1 ? 0 : channel) * pixels + i] + 1) * 127.5);
    }
    picture.data[4 * i + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
}

// The controls are the state; the address holds a copy of it that can be shared.
const chosen = () => (facts.classes ? element("class").value : "");
function write() {
  const state = new URLSearchParams({ seed: element("seed").value, truncation: element("truncation").value });
  const steps = walks.map((slider) => slider.value);
  if (steps.some((step) => Number(step) !== 0)) state.set("walk", steps.join(","));
  if (chosen() !== "") state.set("class", chosen());
  try { history.replaceState(null, "", `#${state}`); } catch { location.hash = state; }
}
function read() {
  const state = new URLSearchParams(location.hash.slice(1));
  const seed = Number(state.get("seed"));
  element("seed").value = state.has("seed") && Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32 ? seed : fresh();
  element("truncation").value = state.has("truncation") && Number.isFinite(Number(state.get("truncation"))) ? state.get("truncation") : 1;
  const steps = (state.get("walk") || "").split(",");
  walks.forEach((slider, k) => { slider.value = Number.isFinite(Number(steps[k])) ? Number(steps[k]) : 0; });
  if (facts.classes) element("class").value = /^\d+$/.test(state.get("class") || "") && Number(state.get("class")) < facts.classes ? state.get("class") : "";
}
const fresh = () => crypto.getRandomValues(new Uint32Array(1))[0] % 1000000; // short enough to be read aloud

let drawing = false, again = false;
async function draw() {
  for (const slider of document.querySelectorAll("input[type=range]")) {
    const value = Number(slider.value);
    slider.nextElementSibling.value = slider.id === "truncation" ? value.toFixed(2) : value.toFixed(1);
  }
  if (drawing || session === null) { again = true; return; } // one at a time: a slider is quicker than a network
  drawing = true;
  try {
    do {
      again = false;
      const seed = Number(element("seed").value) >>> 0, truncation = Number(element("truncation").value);
      const began = performance.now();
      const z = walked(latents(seed, facts.faces), walks.map((slider) => Number(slider.value))).map((x) => x * truncation);
      const classes = Array.from({ length: facts.faces }, (_, i) => (chosen() === "" ? i % Math.max(1, facts.classes) : Number(chosen())));
      const images = await generate(z, classes), length = images.length / facts.faces;
      canvases.forEach((canvas, i) => paint(canvas, images.subarray(i * length, (i + 1) * length)));
      element("status").textContent = `${facts.faces} pictures in ${Math.round(performance.now() - began)} ms`;
      document.body.dataset.drawn = Number(document.body.dataset.drawn || 0) + 1;
    } while (again);
  } finally { drawing = false; }
}

function wrong(error) {
  element("status").className = "wrong";
  element("status").textContent = `This browser cannot run the generator: ${error && error.message || error}`;
}
const redraw = () => { write(); draw().catch(wrong); };

element("new").addEventListener("click", () => { element("seed").value = fresh(); redraw(); });
element("reset").addEventListener("click", () => { walks.forEach((slider) => { slider.value = 0; }); redraw(); });
for (const control of document.querySelectorAll("input, select")) control.addEventListener("input", redraw);
addEventListener("hashchange", () => { read(); draw().catch(wrong); });
if (navigator.clipboard) {
  element("share").hidden = false;
  element("share").addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(location.href); element("status").textContent = "The link is copied."; } catch { element("status").textContent = `The link: ${location.href}`; }
  });
}
element("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("ganealogy-theme", root.dataset.theme); } catch { /* files may not remember */ }
});
try {
  const remembered = localStorage.getItem("ganealogy-theme");
  if (remembered) document.documentElement.dataset.theme = remembered;
} catch { /* the system's choice stands */ }

read();
write();
load().then((loaded) => { session = loaded; element("new").disabled = false; return draw(); }).catch(wrong);
