// The page: filters, legend, and the figures they select.

const data = JSON.parse(byId("data").textContent);
const looks = new Map(data.strategies.map((s) => [s.name, s]));
const cells = Object.fromEntries(Object.entries(data.cells).map(([name, packed]) => [name, column(packed)]));
const count = (cells.group ?? []).length;
const levels = (name) => data.order[name] ?? unique(cells[name] ?? []);
const MOST_MODELS = 12;

const choice = {
  group: levels("group")[0],
  kind: levels("kind")[0],
  workload: levels("workload")[0],
  model: "all",
  metric: data.metrics[0]?.key,
  log: false,
  hidden: new Set(),
};

function start() {
  filters();
  legend();
  figures();
  dataTable(byId("run-table"), data.runs, "runs");
  dataTable(byId("contrast-table"), data.contrasts, "comparisons");
}

function select(label, name, options) {
  const change = (event) => {
    choice[name] = event.target.value;
    figures();
  };
  const items = options.map(([value, text]) => element("option", { value, selected: value === choice[name] }, text));
  return element("label", {}, `${label} `, element("select", { name, onchange: change }, ...items));
}

function filters() {
  const same = (values) => values.map((value) => [value, value]);
  const made = [];
  if (levels("group").length > 1) made.push(select("Runs", "group", same(levels("group"))));
  if (levels("kind").length > 1) made.push(select("Load by", "kind", same(levels("kind"))));
  made.push(
    select("Model", "model", [["all", "all models"], ...same(levels("model"))]),
    select("Workload", "workload", same(levels("workload"))),
    select("Measure", "metric", data.metrics.map((m) => [m.key, m.label])),
  );
  const toggle = (event) => {
    choice.log = event.target.checked;
    figures();
  };
  made.push(element("label", {}, element("input", { type: "checkbox", name: "log", onchange: toggle }), " logarithmic"));
  byId("filters").replaceChildren(...made);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
}

function legend() {
  const toggle = (name) => (event) => {
    if (!choice.hidden.delete(name)) choice.hidden.add(name);
    event.currentTarget.setAttribute("aria-pressed", String(!choice.hidden.has(name)));
    figures();
  };
  byId("legend").replaceChildren(
    ...data.strategies.map((look) => {
      const key = shape("svg", { viewBox: "-14 -7 28 14", width: 28, height: 14, "aria-hidden": "true" });
      key.append(
        shape("path", { d: "M-14 0H14", stroke: look.colour, "stroke-width": 2, "stroke-dasharray": DASHES[look.dash] ?? "" }),
        shape("path", { d: MARKS[look.marker] ?? MARKS.o, fill: look.colour }),
      );
      return element("button", { type: "button", "aria-pressed": "true", onclick: toggle(look.name) }, key, ` ${look.name}`);
    }),
  );
}

// Places in the columns of the cells that the filters let through.
function picked(model, group = choice.group) {
  const found = [];
  for (let i = 0; i < count; i++) {
    if (cells.group[i] !== group || cells.kind[i] !== choice.kind) continue;
    if (cells.workload[i] !== choice.workload || cells.model[i] !== model) continue;
    if (!choice.hidden.has(cells.strategy[i])) found.push(i);
  }
  return found;
}

function bySeries(places, point) {
  const names = data.strategies.map((s) => s.name);
  const series = names.map((name) => ({
    name,
    look: looks.get(name),
    points: places.filter((i) => cells.strategy[i] === name).map(point).filter(Boolean).sort((a, b) => (a.at ?? a.x) - (b.at ?? b.x)),
  }));
  return series.filter((s) => s.points.length);
}

const loadAxis = (places) => ({
  label: choice.kind === "concurrency" ? "Concurrency (requests in flight)" : "Request rate (requests/s)",
  short: choice.kind,
  log: true,
  levels: unique(places.map((i) => cells.load[i])).sort((a, b) => a - b),
});

function measureChart(model, places) {
  const metric = data.metrics.find((m) => m.key === choice.metric);
  const get = (name, i) => cells[`${metric.key}.${name}`][i];
  const series = bySeries(places, (i) => get("mean", i) == null ? null : {
    x: cells.load[i], y: get("mean", i), low: get("low", i), high: get("high", i), text: `${get("n", i)} runs`,
  });
  return chart({ title: `${model}: ${metric.label}`, x: loadAxis(places), y: { label: metric.label, log: choice.log, zero: true }, series });
}

function paretoChart(model, places) {
  const [gpu, tpot] = [cells["output_throughput_per_gpu.mean"], cells["mean_tpot_ms.mean"]];
  if (!gpu || !tpot) return null;
  const series = bySeries(places, (i) => gpu[i] == null || !tpot[i] ? null : {
    x: 1e3 / tpot[i], y: gpu[i], at: cells.load[i], text: `${choice.kind} ${shown(cells.load[i])}`,
  });
  if (!series.length) return null;
  return chart({
    title: `${model}: efficiency against speed`,
    x: { label: "Speed per user (tokens/s/user)" },
    y: { label: "Throughput per GPU (tokens/s/GPU)", zero: true, log: choice.log },
    series,
  });
}

// Every request's latency: the share answered within a time.
function latencyChart(model) {
  const here = data.latencies.filter((l) => l.group === choice.group && l.model === model && l.workload === choice.workload && l.kind === choice.kind && !choice.hidden.has(l.strategy));
  if (!here.length) return null;
  const load = Math.max(...here.map((l) => l.load));
  const which = choice.metric.includes("ttft") ? "ttft" : "e2el";
  const series = here.filter((l) => l.load === load).map((l) => ({
    name: l.strategy,
    look: looks.get(l.strategy),
    points: l[which].map((ms, i) => ({ x: ms, y: 100 * data.shares[i], text: `${l.n} requests` })).filter((p) => p.x != null),
  }));
  const name = which === "ttft" ? "time to first token" : "end-to-end latency";
  return chart({
    title: `${model}: all requests at ${choice.kind} ${shown(load)}, ${name}`,
    x: { label: `${name} (ms)`, log: true },
    y: { label: "Requests answered (%)", zero: true },
    series,
  });
}

// Measured over simulated, where a condition has both.
function agreementChart(model) {
  const groups = levels("group");
  const real = groups.find((g) => g === "measured" || g === "imported");
  if (!real || !groups.includes("simulated")) return null;
  const mean = cells["output_throughput.mean"];
  const key = (i) => `${cells.strategy[i]}\u0001${cells.load[i]}`;
  const estimate = new Map(picked(model, "simulated").map((i) => [key(i), mean[i]]));
  const places = picked(model, real).filter((i) => estimate.get(key(i)));
  if (!places.length) return null;
  const series = bySeries(places, (i) => ({ x: cells.load[i], y: mean[i] / estimate.get(key(i)) }));
  return chart({ title: `${model}: ${real} over simulated throughput`, x: loadAxis(places), y: { label: `${real} / simulated` }, rule: 1, series });
}

function winnerTable(model) {
  const here = data.winners.filter((w) => w.group === choice.group && w.model === model && w.load_kind === choice.kind && w.load != null);
  if (!here.length) return null;
  const loads = unique(here.map((w) => w.load)).sort((a, b) => a - b);
  const rows = unique(here.map((w) => w.workload)).map((workload) => {
    const line = loads.map((load) => {
      const won = here.find((w) => w.workload === workload && w.load === load);
      if (!won) return element("td", {}, "");
      const lead = won.lead == null ? "" : ` +${Math.round(100 * (won.lead - 1))} %`;
      const tied = won.tied_with ? ` ≈ ${won.tied_with.replaceAll(",", ", ")}` : "";
      const cell = element("td", { class: won.settled ? "won" : "won unsure" }, won.strategy, element("small", {}, lead + tied));
      cell.style.setProperty("--colour", looks.get(won.strategy)?.colour ?? "#666");
      return cell;
    });
    return element("tr", {}, element("th", { scope: "row" }, workload), ...line);
  });
  const head = element("tr", {}, element("th", { scope: "col" }, choice.kind), ...loads.map((l) => element("th", { scope: "col" }, shown(l))));
  return element(
    "figure",
    { class: "wide" },
    element("figcaption", {}, `${model}: highest output throughput and its lead over the second; pale where the runs do not settle it`),
    element("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": `Best strategies of ${model}` }, element("table", { class: "map" }, element("thead", {}, head), element("tbody", {}, ...rows))),
  );
}

function figures() {
  const models = choice.model === "all" ? levels("model").slice(0, MOST_MODELS) : [choice.model];
  const made = [];
  for (const model of models) {
    const places = picked(model);
    if (places.length) made.push(measureChart(model, places), paretoChart(model, places), latencyChart(model), agreementChart(model));
    made.push(winnerTable(model));
  }
  const shownFigures = made.filter(Boolean);
  if (choice.model === "all" && levels("model").length > MOST_MODELS) {
    shownFigures.push(element("p", { class: "wide" }, `The first ${MOST_MODELS} of ${levels("model").length} models; choose one above to see it.`));
  }
  if (!shownFigures.length) shownFigures.push(element("p", { class: "wide" }, "No valid run matches these filters."));
  byId("charts").replaceChildren(...shownFigures);
}

start();
