// Draws the charts of Monitoring from its samples, with uPlot; the same numbers stand in a table below each.
"use strict";
(() => {
  const colours = ["#1f77b4", "#d95f02", "#7b3294"]; // apart for colour-blind eyes (and lines differ by dashes)
  const dashes = [[], [6, 4], [2, 3]];
  const lang = document.documentElement.lang;
  const size = (value) => { const units = ["B", "KB", "MB", "GB", "TB"]; let power = 0; while (Math.abs(value) >= 1024 && power < 4) { value /= 1024; power += 1; } return `${value.toLocaleString(lang, { maximumFractionDigits: 1 })} ${units[power]}`; };
  const said = (unit) => (value) => value == null ? "–" : unit === "bytes" ? size(value) : value.toLocaleString(lang, { maximumFractionDigits: 2 });
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const plots = [];
  const make = (box) => {
    const lines = box.dataset.lines.split(" "), names = box.dataset.names.split("|"), text = said(box.dataset.unit);
    const axis = { stroke: css("--muted"), grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line") } };
    const plot = new uPlot({
      width: box.clientWidth, height: 170, legend: { live: true }, cursor: { drag: { x: false, y: false } },
      series: [{ value: (u, at) => at == null ? "–" : new Date(at * 1000).toLocaleTimeString(lang) }, ...lines.map((key, i) => ({ label: names[i], stroke: colours[i], width: 2, dash: dashes[i], value: (u, v) => text(v), points: { show: false } }))],
      axes: [{ ...axis, values: (u, ats) => ats.map((at) => new Date(at * 1000).toLocaleTimeString(lang, { hour: "2-digit", minute: "2-digit" })) }, { ...axis, size: 62, values: (u, all) => all.map(text) }],
      scales: { y: { range: (u, least, most) => [0, most > 0 ? most * 1.15 : 1] } },
    }, [[], ...lines.map(() => [])], box);
    plots.push({ plot, lines, box });
  };
  const draw = async () => {
    const box = document.getElementById("charts");
    const answer = await fetch(box.dataset.source, { headers: { "HX-Request": "true" } });
    if (!answer.ok) return;
    const samples = await answer.json();
    plots.forEach(({ plot, lines }) => plot.setData([samples.at, ...lines.map((key) => samples[key])]));
  };
  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll(".chart").forEach(make);
    draw();
    setInterval(() => { if (!document.hidden) draw(); }, 5000);
    addEventListener("resize", () => plots.forEach(({ plot, box }) => plot.setSize({ width: box.clientWidth, height: 170 })));
  });
})();
