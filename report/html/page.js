"use strict";
(() => {
  const root = document.documentElement;
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const plots = [...document.querySelectorAll("[data-figure]")];
  const touch = matchMedia("(pointer: coarse)").matches;
  const narrow = () => innerWidth < 641;

  // Colours are named in the style sheet: only there does a theme know them.
  function coloured(value, key = "", style = getComputedStyle(root)) {
    if (Array.isArray(value)) {
      if (!/colors?$/.test(key) && typeof value[0] !== "object") return value;
      return value.map((each) => coloured(each, key, style));
    }
    if (value && typeof value === "object") {
      return Object.fromEntries(
        Object.entries(value).map(([name, each]) => [name, coloured(each, name, style)]),
      );
    }
    const named = typeof value === "string" && /colors?$/.test(key) && /^var\((--[\w-]+)\)$/.exec(value);
    return named ? style.getPropertyValue(named[1]).trim() : value;
  }

  function layout(plot, figure) {
    const style = getComputedStyle(document.body);
    const font = { family: style.fontFamily, size: narrow() ? 11 : 12, color: style.getPropertyValue("--quiet").trim() };
    const zoom = !touch && figure.layout.xaxis && figure.layout.xaxis.fixedrange === false;
    const margin = plot.dataset.figure === "peak" ? { l: 0, r: 0, t: 0, b: 0 } : { l: 4, r: 12, t: 10, b: 30 };
    const settings = coloured(figure.layout);
    settings.hoverlabel.font = { ...settings.hoverlabel.font, family: style.fontFamily, size: 12 };
    if (narrow() && settings.xaxis) settings.xaxis.nticks = 5;
    for (const shape of settings.shapes || []) {
      const room = ((shape.x1 - shape.x0) / settings.xaxis.range[1]) * (plot.clientWidth - 70);
      if (shape.type === "rect" && shape.label.text.length * 7 > room) shape.label.text = "";
    }
    return { ...settings, autosize: true, font, margin, dragmode: zoom ? "zoom" : false };
  }

  const config = { displayModeBar: false, responsive: true, doubleClick: "reset", showTips: false };

  // On a phone there is no room for the modules of modules: the deepest has their main colour.
  const DEEPEST = 5;
  function shallow(trace) {
    const depth = {};
    trace.ids.forEach((id, i) => { depth[id] = trace.parents[i] === "" ? 1 : depth[trace.parents[i]] + 1; });
    const cut = trace.ids.map((id) => depth[id] === DEEPEST);
    const either = (usual, instead) => usual.map((each, i) => (cut[i] ? instead(i) : each));
    const colors = either(trace.marker.colors, (i) => trace.meta.mostlycolor[i]);
    const ink = either(trace.textfont.color, () => "var(--on-colour)");
    const marker = { ...trace.marker, colors };
    return { ...trace, maxdepth: DEEPEST, marker, textfont: { color: ink } };
  }

  function draw(plot) {
    let figure = figures[plot.dataset.figure];
    if (narrow() && figure.data[0].type === "treemap") {
      figure = { ...figure, data: figure.data.map(shallow) };
    }
    if (figure.layout.height) plot.style.setProperty("--height", `${figure.layout.height}px`);
    return Plotly.react(plot, coloured(figure.data), layout(plot, figure), config);
  }

  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  function bytes(size) {
    let unit = 0;
    while (size >= 1024 && unit < units.length - 1) { size /= 1024; unit += 1; }
    return unit ? `${size.toFixed(2)} ${units[unit]}` : `${size} B`;
  }

  // The legend tells what the categories hold where the pointer is, else at the peak.
  function readout(plot) {
    const legend = plot.parentElement.querySelector(".legend");
    const title = legend.querySelector(".readout");
    const sizes = [...legend.querySelectorAll("[data-category]")];
    const atPeak = [title.textContent, ...sizes.map((each) => each.textContent)];
    plot.on("plotly_hover", ({ points }) => {
      const point = points.find((each) => each.data.meta === "total");
      if (!point) return;
      title.textContent = `${bytes(point.y)} alive, ${point.x.toPrecision(4)}${plot.layout.xaxis.ticksuffix}`;
      for (const each of sizes) {
        const trace = plot.data.find((data) => data.name === each.dataset.category);
        each.textContent = bytes(trace.y[point.pointNumber]);
      }
    });
    plot.on("plotly_unhover", () => {
      [title, ...sizes].forEach((each, i) => { each.textContent = atPeak[i]; });
    });
  }

  const system = matchMedia("(prefers-color-scheme: dark)");
  const toggle = document.getElementById("theme");
  let chosen = null;
  async function theme() {
    const dark = chosen === null ? system.matches : chosen;
    root.dataset.theme = dark ? "dark" : "light";
    toggle.textContent = dark ? "Light" : "Dark";
    await Promise.all(plots.map(draw));
  }
  toggle.addEventListener("click", () => { chosen = root.dataset.theme !== "dark"; theme(); });
  system.addEventListener("change", theme);

  let wasNarrow = narrow();
  addEventListener("resize", () => {
    if (wasNarrow !== narrow()) { wasNarrow = narrow(); theme(); }
  });

  for (const button of document.querySelectorAll(".all")) {
    const closed = button.textContent;
    button.addEventListener("click", () => {
      const open = button.closest("figure").classList.toggle("open");
      button.textContent = open ? "Show fewer" : closed;
    });
  }

  theme().then(() => {
    plots.filter((plot) => plot.dataset.figure === "timeline").forEach(readout);
    root.dataset.ready = "true";
  });
})();
