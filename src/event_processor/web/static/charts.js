// Charts: [data-chart] is the address of {times, values}; data-style says "bars", "line" or "step".
import { on } from "./app.js";

const pixels = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const zone = document.body.dataset.zone;

async function draw(element) {
  const answer = await fetch(element.dataset.chart, { headers: { accept: "application/json" } });
  if (!answer.ok) { element.textContent = `The values could not be read (${answer.status}).`; return; }
  const { times, values, range } = await answer.json();
  element.chart?.destroy();
  element.replaceChildren();
  element.dataset.points = times.length;
  if (!times.length) {
    const empty = document.createElement("p");
    empty.className = "empty";
    empty.textContent = "There are no values in this time yet. They appear as the device reports them.";
    element.append(empty);
    return;
  }
  const { style, unit, label } = element.dataset;
  const paths = style === "bars" ? window.uPlot.paths.bars({ size: [0.7, 60] }) : style === "step" ? window.uPlot.paths.stepped({ align: 1 }) : undefined;
  const axis = { stroke: pixels("--soft"), grid: { stroke: pixels("--line"), width: 1 }, ticks: { stroke: pixels("--line") } };
  const day = "\n{D} {MMM}";
  const hours = ["{HH}:{mm}", day, null, day, null, null, null, 1];
  const written = [[31536000, "{YYYY}", null, null, null, null, null, null, 1], [2419200, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
    [86400, "{D} {MMM}", null, null, null, null, null, null, 1], [3600, ...hours], [60, ...hours], [1, "{HH}:{mm}:{ss}", day, null, day, null, null, null, 1]];
  element.chart = new window.uPlot({
    width: element.clientWidth,
    height: 270,
    tzDate: (at) => window.uPlot.tzDate(new Date(at * 1000), zone || "UTC"),
    scales: { x: range ? { time: true, range: () => range } : { time: true }, y: { range: (_, low, high) => (style === "bars" ? [0, high > 0 ? high * 1.08 : 1] : low === high ? [low - 1, high + 1] : window.uPlot.rangeNum(low, high, 0.1, true)) } },
    axes: [{ ...axis, values: written, space: 56 }, { ...axis, size: 64 }],
    series: [{ label: "time", value: "{D} {MMM} {YYYY} {HH}:{mm}" }, {
      label: unit ? `${label} (${unit})` : label,
      stroke: pixels("--accent"),
      fill: style === "bars" ? pixels("--accent") : undefined,
      width: 2,
      points: { show: times.length < 60 && style !== "bars" },
      value: (_, value) => (value === null || value === undefined ? "none" : `${+value.toFixed(3)}`),
      paths,
    }],
  }, [times, values], element);
}

const all = () => document.querySelectorAll("[data-chart]");
for (const element of all()) draw(element);

let sizing = 0;
addEventListener("resize", () => {
  clearTimeout(sizing);
  sizing = setTimeout(() => { for (const { chart, clientWidth } of all()) chart?.setSize({ width: clientWidth, height: 270 }); }, 150);
});
document.addEventListener("theme", () => all().forEach(draw));
document.addEventListener("missed", () => all().forEach(draw));

let waiting = 0;
on("outcomes", (news) => {
  if (waiting || !news.events.some((event) => event.kind !== "heartbeat")) return;
  waiting = setTimeout(() => { waiting = 0; all().forEach(draw); }, 20000);
});

document.addEventListener("change", (event) => { if (event.target.matches("[data-submit]")) event.target.form.requestSubmit(); });
