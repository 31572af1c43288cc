// Matrices over loads: the winner of each condition, and each strategy against the reference.
//
// A line is {names: [model, …], cells: Map(load → {text, small, kind, colour, tell})}. On a narrow
// screen the matrix is turned: a table for each model, its loads down the page.

const MARK_OF = { better: "▲", worse: "▼", equivalent: "=", undecided: "?" };

const MOST_BESIDE = 7;
const STANDING = {
  shown: ", shown to lead every other, in the mean by more than the margin",
  equal: ", shown equal within the margin",
  near: ", within the margin, which no test shows",
  open: ", open: a test does not show it",
  untested: ", not tested",
};

function matrix(name, heads, lines) {
  if (!lines.length) return [];
  const loads = unique(lines.flatMap((line) => [...line.cells.keys()])).sort((a, b) => a - b);
  const tip = element("div", { class: "tip", hidden: true });
  const tables = narrow.matches ? parts(lines, 1, heads.length).map(([depth, part]) => turned(depth, heads, loads, part)) : [upright(heads, loads, lines)];
  return tables.map((table) => {
    const own = tables.length > 1 ? `${name}, ${table.caption.textContent}` : name;
    const holder = element("div", { class: "scroll matrix", role: "region", tabindex: 0, "aria-label": own }, table);
    const frame = element("div", { class: "plot-table" }, holder);
    tellCells(frame, holder, tip);
    return frame;
  });
}

// Lines that go into one turned table: those of a model, or, where these are too many to stand
// beside each other, of a model and workload.
function parts(lines, depth, most) {
  const keys = unique(lines.map((line) => line.names.slice(0, depth).join("\u0001")));
  return keys.flatMap((key) => {
    const part = lines.filter((line) => line.names.slice(0, depth).join("\u0001") === key);
    return part.length > MOST_BESIDE && depth + 1 < most ? parts(part, depth + 1, most) : [[depth, part]];
  });
}

function upright(heads, loads, lines) {
  const head = element("tr", {}, ...heads.map((h) => element("th", { scope: "col" }, h)), ...loads.map((l) => element("th", { scope: "col", class: "number" }, shown(l))));
  const rows = lines.map((line, at) => {
    const names = line.names.map((text, depth) => {
      const same = (other) => other && line.names.slice(0, depth + 1).every((each, i) => each === other.names[i]);
      if (same(lines[at - 1])) return null;
      let span = 1;
      while (same(lines[at + span])) span++;
      return element("th", { scope: span > 1 ? "rowgroup" : "row", rowspan: span > 1 ? span : null }, text);
    });
    const first = !lines[at - 1] || lines[at - 1].names[0] !== line.names[0];
    return element("tr", { class: first ? "first" : null }, ...names, ...loads.map((load) => cellOf(line, load)));
  });
  return element("table", { class: "map" }, element("thead", {}, head), element("tbody", {}, ...rows));
}

// The first `depth` names are the caption, the others head the columns.
function turned(depth, heads, loads, lines) {
  const levels = heads.length - depth;
  const header = Array.from({ length: levels }, (_, level) => {
    const made = [];
    for (let at = 0; at < lines.length; ) {
      let span = 1;
      while (lines[at + span]?.names.slice(depth, depth + level + 1).every((each, i) => each === lines[at].names[depth + i])) span++;
      made.push(element("th", { scope: span > 1 ? "colgroup" : "col", colspan: span > 1 ? span : null }, lines[at].names[depth + level]));
      at += span;
    }
    const corner = level ? null : element("th", { scope: "col", rowspan: levels }, choice.kind === "concurrency" ? "load" : "req/s");
    return element("tr", {}, corner, ...made);
  });
  const filled = loads.filter((load) => lines.some((line) => line.cells.has(load)));
  const rows = filled.map((load) => element("tr", {}, element("th", { scope: "row" }, shown(load)), ...lines.map((line) => cellOf(line, load))));
  return element("table", { class: "map" }, element("caption", {}, [...lines[0].names.slice(0, depth), ...heads.slice(2)].join(", ")), element("thead", {}, ...header), element("tbody", {}, ...rows));
}

function cellOf(line, load) {
  const found = line.cells.get(load);
  if (!found) return element("td");
  const cell = element("td", { class: found.kind, "data-tell": found.tell }, found.text, element("small", {}, found.small ?? ""));
  if (found.colour) cell.style.setProperty("--colour", found.colour);
  return cell;
}

// Point, tap, or walk with the arrow keys: the cell says what it rests on.
function tellCells(frame, holder, tip) {
  const cellsOf = () => [...holder.querySelectorAll("td[data-tell]")];
  let at = -1;
  const show = (cell, speak) => {
    for (const other of cellsOf()) other.classList.toggle("told", other === cell);
    tip.hidden = !cell;
    if (!cell) return;
    frame.append(tip);
    tip.textContent = cell.dataset.tell;
    const [box, around] = [cell.getBoundingClientRect(), frame.getBoundingClientRect()];
    placeTip(tip, box.left - around.left, box.top - around.top, frame.clientWidth);
    if (speak) byId("live").textContent = tip.textContent;
  };
  const find = (event) => show(event.target.closest("td[data-tell]"), false);
  holder.addEventListener("pointermove", find);
  holder.addEventListener("pointerdown", find);
  holder.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && show(null));
  holder.addEventListener("blur", () => show(null));
  holder.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return show(null);
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const all = cellsOf();
    if (step == null || !all.length) return;
    event.preventDefault();
    at = (at + step + all.length) % all.length;
    all[at].scrollIntoView({ block: "nearest", inline: "nearest" });
    show(all[at], true);
  });
}

function lined(rows, names, cell) {
  const found = new Map();
  for (const row of rows) {
    const line = names(row);
    const key = line.join("\u0001");
    if (!found.has(key)) found.set(key, { names: line, cells: new Map() });
    found.get(key).cells.set(row.load, cell(row));
  }
  return [...found.values()];
}

function winnerMatrix(models) {
  const here = data.winners.filter((w) => w.group === choice.group && models.includes(w.model) && w.load_kind === choice.kind && w.load != null);
  const inOrder = models.flatMap((model) => here.filter((w) => w.model === model));
  return matrix("Highest throughput", ["Model", "Workload"], lined(inOrder, (w) => [w.model, w.workload], (won) => {
    const lead = won.lead == null ? "" : `+${rounded(100 * (won.lead - 1))}\u00a0%`;
    const near = won.equal ? won.equal.replaceAll(",", ", ") : "";
    return {
      text: near ? `${won.strategy} ≈ ${near}` : won.strategy,
      small: lead,
      kind: won.standing === "shown" ? "won" : "won unsure",
      colour: looks.get(won.strategy)?.colour ?? "#666",
      tell: `${won.model}, ${won.workload}, ${choice.kind} ${shown(won.load)}: ${won.strategy}${lead && ` ${lead} over ${won.runner_up}`}${STANDING[won.standing] ?? ", the only one that was run"}${near && `; within the margin: ${near}`}`,
    };
  }));
}

const rounded = (percent) => percent.toFixed(percent < 9.95 ? 1 : 0);

function contrastMatrix(models) {
  const packed = data.contrasts;
  const named = Object.fromEntries(packed.columns.map((name, i) => [name, column(packed.cells[i])]));
  const rows = [];
  const loads = named[choice.kind === "concurrency" ? "concurrency" : "requests/s"];
  for (let i = 0; i < packed.rows && loads; i++) {
    const group = named.provenance?.[i] || "unstated";
    if (group !== choice.group || !models.includes(named.model?.[i]) || loads[i] == null || loads[i] === "") continue;
    const row = Object.fromEntries(Object.entries(named).map(([name, values]) => [name, values[i]]));
    rows.push({ ...row, load: loads[i] });
  }
  const order = models.flatMap((model) => rows.filter((row) => row.model === model));
  const against = unique(order.map((row) => row.against));
  const one = against.length === 1;
  const heads = ["Model", "Workload", one ? `% of ${against[0]}` : "Compared"];
  return matrix("Throughput against the reference", heads, lined(order, (r) => [r.model, String(r.workload), one ? r.strategy : `${r.strategy} / ${r.against}`], contrastCell));
}

function contrastCell(row) {
  const percent = (value) => shown(Number((100 * value).toPrecision(4)));
  const known = row.from != null && row.from !== "" && row.from !== row.to;
  const interval = known ? ` (95 % interval ${percent(row.from)} to ${percent(row.to)})` : "";
  const p = row["p adjusted"];
  const test = p == null || p === "" ? "" : `, p adjusted ${shown(p)}`;
  const unlike = row["differs also in"] ? `; differs also in ${row["differs also in"]}` : "";
  return {
    text: shown(Math.round(100 * row.ratio)),
    small: MARK_OF[row.verdict] ?? "",
    kind: `number verdict ${row.verdict}`,
    tell: `${row.model}, ${row.workload}, load ${shown(row.load)}: ${row.strategy} gives ${percent(row.ratio)} % of ${row.against}${interval}: ${row.verdict}${test}, ${row.pairs} ${row.pairs === 1 ? "pair" : "pairs"}${row.reason ? `; ${row.reason}` : ""}${unlike}`,
  };
}
