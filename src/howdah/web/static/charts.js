// Draws the charts of Monitoring from its samples, with uPlot; the same numbers stand in a table below each.
"use strict";
(() => {
  const dashes = [[], [7, 4], [2, 3]]; // lines differ by dashes as well as by colour
  const lang = document.documentElement.lang;
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const clock = (at, seconds) => new Date(at * 1000).toLocaleTimeString(lang, { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(seconds ? { second: "2-digit" } : {}) });
  const twos = Array.from({ length: 50 }, (_, power) => 2 ** power); // bytes are counted in these
  const plots = [];
  const said = (box, units) => {
    if (box.dataset.unit !== "bytes") return (value) => value == null ? "–" : value.toLocaleString(lang, { maximumFractionDigits: 2 });
    return (value) => {
      if (value == null) return "–";
      let power = 0;
      while (Math.abs(value) >= 1024 && power < units.length - 1) { value /= 1024; power += 1; }
      return `${value.toLocaleString(lang, { maximumFractionDigits: 1 })} ${units[power]}`;
    };
  };
  // A name, how its line looks, and its value: the newest, or the one under the pointer.
  const legend = (box, names, colours) => {
    const list = document.createElement("ul");
    list.className = "legend";
    const values = names.map((name, i) => {
      const item = document.createElement("li"), value = document.createElement("strong");
      item.innerHTML = '<svg width="22" height="8" aria-hidden="true"><line x1="1" y1="4" x2="21" y2="4" stroke-width="3"></line></svg>';
      const line = item.querySelector("line");
      line.setAttribute("stroke", colours[i]);
      line.setAttribute("stroke-dasharray", dashes[i].join(" "));
      item.append(` ${name} `, value);
      list.append(item);
      return value;
    });
    const at = document.createElement("li");
    at.className = "muted";
    list.append(at);
    box.after(list);
    return { values, at };
  };
  const make = (box, units) => {
    const lines = box.dataset.lines.split(" "), names = box.dataset.names.split("|"), text = said(box, units), top = Number(box.dataset.top);
    const colours = lines.map((_, i) => css(`--chart-${i + 1}`));
    const axis = { stroke: css("--muted"), grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line") }, font: "12px system-ui, sans-serif" };
    const told = legend(box, names, colours);
    const tell = (u) => {
      const all = u.data[0], i = u.cursor.idx == null ? all.length - 1 : u.cursor.idx;
      lines.forEach((_, n) => { told.values[n].textContent = text(all.length ? u.data[n + 1][i] : null); });
      told.at.textContent = all.length ? clock(all[i], true) : "";
    };
    const plot = new uPlot({
      width: box.clientWidth, height: 170, legend: { show: false }, cursor: { drag: { x: false, y: false }, points: { size: 7 } }, hooks: { setCursor: [tell], setData: [tell] },
      series: [{}, ...lines.map((key, i) => ({ label: names[i], stroke: colours[i], width: 2, dash: dashes[i], points: { show: false } }))],
      axes: [{ ...axis, space: 64, values: (u, ats) => ats.map((at) => clock(at, u.scales.x.max - u.scales.x.min < 600)) }, { ...axis, size: 66, space: 34, values: (u, all) => all.map(text), ...(box.dataset.unit === "bytes" ? { incrs: twos } : {}) }],
      scales: { x: { range: (u, least, most) => [Math.min(least, most - 300), most] }, y: { range: (u, least, most) => [0, top || (most > 0 ? most * 1.15 : 1)] } },
    }, [[], ...lines.map(() => [])], box);
    plots.push({ plot, lines, box });
  };
  const draw = async () => {
    const answer = await fetch(document.getElementById("charts").dataset.source, { headers: { "HX-Request": "true" } });
    if (!answer.ok) return;
    const samples = await answer.json();
    plots.forEach(({ plot, lines, box }) => {
      const data = lines.map((key) => samples[key]);
      box.parentElement.querySelector(".none").hidden = data.some((each) => each.some((value) => value != null));
      plot.setData([samples.at, ...data]);
    });
  };
  document.addEventListener("DOMContentLoaded", () => {
    const units = document.getElementById("charts").dataset.sizes.split("|");
    document.querySelectorAll(".chart").forEach((box) => make(box, units));
    draw();
    setInterval(() => { if (!document.hidden) draw(); }, 5000);
    addEventListener("resize", () => plots.forEach(({ plot, box }) => plot.setSize({ width: box.clientWidth, height: 170 })));
  });
})();
