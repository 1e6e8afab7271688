"use strict";
// Curves: plotly is embedded compressed and is unpacked before the first chart scrolls into view.
(() => {
  const data = embedded("curve-data");
  const charts = [...document.querySelectorAll("[data-curve]")];
  if (!charts.length) return;
  const state = document.getElementById("curves-state");
  const hidden = new Set(), drawn = new Set();
  let logarithmic = true, axis = "kimg", loading = null;

  function plotly() {
    loading ??= (async () => {
      state.textContent = "Unpacking the charts…";
      const packed = Uint8Array.from(atob(document.getElementById("plotly-archive").textContent), (c) => c.charCodeAt(0));
      const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
      const script = document.createElement("script");
      script.textContent = await new Response(stream).text();
      document.head.append(script);
      state.textContent = "";
    })().catch((error) => { state.textContent = `The charts could not be unpacked (${error.message}); reports/report.md has them as pictures.`; throw error; });
    return loading;
  }

  const AXES = { kimg: "kimg", flops: "TFLOP of training", time: "seconds of training" };

  // Places of a seed's ticks on the chosen axis; empty if they are not known.
  function places(version, [kimg, , seconds]) {
    if (axis === "flops") return version.flops ? kimg.map((k) => k * version.flops / 1e9) : [];
    return axis === "time" ? seconds : kimg;
  }

  // The mean is drawn only at ticks where every seed has a value. On the time axis a tick's x is the mean of its seeds'
  // times, because seeds reach it at different seconds.
  function summary(version, seeds) {
    const at = new Map();
    for (const seed of seeds) {
      const [kimg, values] = seed, xs = places(version, seed);
      kimg.forEach((k, i) => at.set(k, [...(at.get(k) ?? []), [xs[i], values[i]]]));
    }
    const ticks = [...at.keys()].filter((k) => at.get(k).length === seeds.length).sort((a, b) => a - b);
    const mean = (list) => list.reduce((a, b) => a + b) / list.length;
    const over = (reduce, axis) => ticks.map((k) => reduce(at.get(k).map((point) => point[axis])));
    return { xs: over(mean, 0), mean: over(mean, 1), low: over((v) => Math.min(...v), 1), high: over((v) => Math.max(...v), 1) };
  }

  function traces(curve) {
    return data.order.filter((name) => !hidden.has(name)).flatMap((name) => {
      const version = data.versions[name];
      const seeds = version.series[curve].filter((seed) => places(version, seed).length);
      if (!seeds.length) return [];
      const color = theme.dark() ? version.dark : version.light;
      const { xs, mean, low, high } = summary(version, seeds);
      const quiet = { type: "scatter", mode: "lines", hoverinfo: "skip", showlegend: false };
      const lines = seeds.length < 2 ? [] : [
        { ...quiet, x: [...xs, ...xs.toReversed()], y: [...high, ...low.toReversed()], fill: "toself", fillcolor: `${color}22`, line: { width: 0 } },
        ...seeds.map((seed) => ({ ...quiet, x: places(version, seed), y: seed[1], line: { color, width: 1 }, opacity: 0.35 })),
      ];
      const hovertemplate = { kimg: "%{y:.4~g}", flops: "%{y:.4~g} after %{x:.4~g} TFLOP", time: "%{y:.4~g} after %{x:.4~g} s" }[axis];
      return [...lines, { type: "scatter", mode: "lines", name, x: xs, y: mean, line: { color, width: 2.4, dash: version.dash }, hovertemplate, showlegend: false }];
    });
  }

  function layout(chart) {
    const style = getComputedStyle(document.body);
    const resolve = (name) => { const probe = document.createElement("i"); probe.style.color = `var(${name})`; document.body.append(probe); const color = getComputedStyle(probe).color; probe.remove(); return color; };
    const common = { gridcolor: resolve("--line"), linecolor: resolve("--strong-line"), zerolinecolor: resolve("--line"), automargin: true, tickfont: { size: 12 } };
    return {
      margin: { l: 48, r: 12, t: 8, b: 40 }, paper_bgcolor: "transparent", plot_bgcolor: "transparent", hovermode: axis === "kimg" ? "x unified" : "closest",
      font: { family: style.fontFamily, color: resolve("--soft"), size: 12 },
      hoverlabel: { bgcolor: resolve("--card"), bordercolor: resolve("--strong-line"), font: { color: resolve("--ink") } },
      xaxis: { ...common, title: { text: AXES[axis], font: { size: 12 }, standoff: 6 }, hoverformat: ".4~g", unifiedhovertitle: { text: "%{x} kimg" } },
      yaxis: { ...common, type: logarithmic && chart.dataset.log ? "log" : "linear" },
    };
  }

  async function draw(chart) {
    drawn.add(chart);
    await plotly();
    await Plotly.react(chart, traces(chart.dataset.curve), layout(chart), { displaylogo: false, responsive: true, displayModeBar: false });
  }
  const redraw = () => Promise.all([...drawn].map(draw));

  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) { near.unobserve(target); draw(target); }
  }, { rootMargin: "600px" });
  charts.forEach((chart) => near.observe(chart));
  addEventListener("beforeprint", () => charts.forEach(draw));
  document.addEventListener("themechange", redraw);

  const chips = [...document.querySelectorAll(".chip")];
  function toggle(chip, on) {
    chip.setAttribute("aria-pressed", String(on));
    if (on) hidden.delete(chip.dataset.version); else hidden.add(chip.dataset.version);
  }
  for (const chip of chips) chip.addEventListener("click", () => { toggle(chip, hidden.has(chip.dataset.version)); redraw(); });
  document.getElementById("all-curves").addEventListener("click", () => { const on = hidden.size > 0; chips.forEach((chip) => toggle(chip, on)); redraw(); });
  for (const radio of document.querySelectorAll('input[name="axis"]')) radio.addEventListener("change", () => { axis = radio.value; redraw(); });
  const log = document.getElementById("log");
  log.addEventListener("click", () => { logarithmic = !logarithmic; log.setAttribute("aria-pressed", String(logarithmic)); redraw(); });
})();
