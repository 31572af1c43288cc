// Which figures there are: each picks its points from the cells that the filters let through.

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
  const series = data.strategies.map((look) => ({
    name: look.name,
    look,
    points: places.filter((i) => cells.strategy[i] === look.name).map(point).filter(Boolean).sort((a, b) => (a.at ?? a.x) - (b.at ?? b.x)),
  }));
  return series.filter((s) => s.points.length);
}

// What was in flight, where every run says it; else the load that was asked for.
function loadAxis(places) {
  const closed = choice.kind === "concurrency";
  const flight = closed && cells.in_flight && places.every((i) => cells.in_flight[i] > 0);
  if (flight) return { label: "Requests in flight (mean)", short: "in flight", log: true, base: 2, of: (i) => cells.in_flight[i] };
  return {
    label: closed ? "Concurrency (requests in flight)" : "Request rate (requests/s)",
    short: choice.kind,
    log: true,
    levels: unique(places.map((i) => cells.load[i])).sort((a, b) => a - b),
    of: (i) => cells.load[i],
  };
}

function loadText(i, axis) {
  const asked = `${choice.kind} ${shown(cells.load[i])}`;
  return axis.levels ? asked : `${asked} (${shown(cells.in_flight[i])} in flight)`;
}

const runsText = (n) => (n == null ? "" : `${n} ${n === 1 ? "run" : "runs"}`);

// One server alone is asked for its latencies beside its throughput.
function measures() {
  const beside = data.strategies.length < 2 ? ["mean_ttft_ms", "mean_tpot_ms"] : [];
  return unique([choice.metric, ...beside]).map((key) => data.metrics.find((m) => m.key === key)).filter(Boolean);
}

function measureChart(model, places, metric) {
  const axis = loadAxis(places);
  const get = (name, i) => cells[`${metric.key}.${name}`][i];
  const series = bySeries(places, (i) => get("mean", i) == null ? null : {
    x: axis.of(i), y: get("mean", i), low: get("low", i), high: get("high", i), where: loadText(i, axis), text: runsText(get("n", i)),
  });
  if (!series.length) return null;
  return chart({ title: `${model}: ${metric.label}`, x: axis, y: { label: metric.label, log: choice.log, zero: true }, series });
}

function paretoChart(model, places) {
  const [gpu, tpot] = [cells["output_throughput_per_gpu.mean"], cells["mean_tpot_ms.mean"]];
  if (!gpu || !tpot) return null;
  const series = bySeries(places, (i) => gpu[i] == null || !tpot[i] ? null : {
    x: 1e3 / tpot[i], y: gpu[i], at: cells.load[i], label: shown(cells.load[i]), text: `${choice.kind} ${shown(cells.load[i])}`,
  });
  if (!series.length) return null;
  return chart({
    title: `${model}: efficiency against speed; the number at a point is its ${choice.kind}`,
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
  const axis = loadAxis(places);
  const series = bySeries(places, (i) => ({ x: axis.of(i), y: mean[i] / estimate.get(key(i)), where: loadText(i, axis) }));
  return chart({ title: `${model}: ${real} over simulated throughput`, x: axis, y: { label: `${real} / simulated` }, rule: 1, series });
}

function figures() {
  const models = modelsShown();
  const places = new Map(models.map((model) => [model, picked(model)]));
  const drawn = models.filter((model) => places.get(model).length);
  fill("charts", drawn.flatMap((model) => measures().map((metric) => measureChart(model, places.get(model), metric))));
  fill("more-charts", drawn.flatMap((model) => [paretoChart(model, places.get(model)), latencyChart(model), agreementChart(model)]));
  if (!drawn.length) byId("charts").append(element("p", {}, "No valid run matches these filters."));
  if (choice.model === "all" && levels("model").length > MOST_MODELS) {
    byId("charts").append(element("p", { class: "wide" }, `The first ${MOST_MODELS} of ${levels("model").length} models; choose one above to see it.`));
  }
  byId("winners")?.replaceChildren(...winnerMatrix(models));
  byId("matrix")?.replaceChildren(...contrastMatrix(models));
}

// No figure stands alone in a row of three.
function fill(id, made) {
  const shownFigures = made.filter(Boolean);
  const holder = byId(id);
  holder.classList.toggle("pairs", shownFigures.length === 4);
  holder.replaceChildren(...shownFigures);
  const fold = holder.closest("details");
  if (fold) fold.hidden = !shownFigures.length;
}
