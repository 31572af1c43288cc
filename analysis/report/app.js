// The page: filters, legend, folds, and what they select.

const data = JSON.parse(byId("data").textContent);
const looks = new Map(data.strategies.map((s) => [s.name, s]));
const cells = Object.fromEntries(Object.entries(data.cells).map(([name, packed]) => [name, column(packed)]));
const count = (cells.group ?? []).length;
const levels = (name) => data.order[name] ?? unique(cells[name] ?? []);
const narrow = window.matchMedia("(max-width: 40rem)");
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
  narrow.addEventListener("change", figures);
  folds();
  for (const [id, packed, name] of [["run-table", data.runs, "runs"], ["contrast-table", data.contrasts, "comparisons"], ["carried-table", data.carried, "servers"]]) {
    if (byId(id)) dataTable(byId(id), packed, name);
  }
}

const modelsShown = () => (choice.model === "all" ? levels("model").slice(0, MOST_MODELS) : [choice.model]);

function select(label, name, options) {
  if (options.length < 2) return null;
  const change = (event) => {
    choice[name] = event.target.value;
    figures();
  };
  const items = options.map(([value, text]) => element("option", { value, selected: value === choice[name] }, text));
  return element("label", {}, `${label} `, element("select", { name, onchange: change }, ...items));
}

function filters() {
  const same = (values) => values.map((value) => [value, value]);
  const models = same(levels("model"));
  const toggle = (event) => {
    choice.log = event.target.checked;
    figures();
  };
  const made = [
    select("Runs", "group", same(levels("group"))),
    select("Load by", "kind", same(levels("kind"))),
    select("Model", "model", models.length > 1 ? [["all", "all models"], ...models] : models),
    select("Workload", "workload", same(levels("workload"))),
    select("Measure", "metric", data.metrics.map((m) => [m.key, m.label])),
    element("label", {}, element("input", { type: "checkbox", name: "log", onchange: toggle }), " logarithmic"),
  ];
  byId("filters").replaceChildren(...made.filter(Boolean));
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
      const gpus = look.gpus ? element("small", {}, `, ${look.gpus}`) : null;
      return element("button", { type: "button", "aria-pressed": "true", onclick: toggle(look.name) }, key, ` ${look.name}`, gpus);
    }),
  );
}

// A link to a folded section opens it, and so does arriving with its name in the address.
function folds() {
  const open = () => {
    const fold = location.hash.length > 1 && byId(decodeURIComponent(location.hash.slice(1)))?.querySelector("details.fold");
    if (fold) fold.open = true;
  };
  window.addEventListener("hashchange", open);
  for (const link of document.querySelectorAll("nav a")) link.addEventListener("click", () => setTimeout(open));
  open();
}

start();
