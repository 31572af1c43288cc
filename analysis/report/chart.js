// A figure: axes with units, marks, intervals, hover and keys, and its numbers as a table.
//
// spec: {title, x: {label, log, levels}, y: {label, log, zero}, series: [{name, look, line,
//        points: [{x, y, low, high, text, where, label}]}], rule}

const MARGIN = { top: 10, right: 14, bottom: 40, left: 30 };
const WIDE = 700; // a figure that has a row to itself is higher
const DIGIT = 6.4; // the width of a character of a tick

function chart(spec) {
  const holder = element("div", { class: "plot" });
  const tip = element("div", { class: "tip", hidden: true });
  const figure = element(
    "figure",
    {},
    element("figcaption", {}, spec.title),
    holder,
    numbers(spec),
  );
  let width = 0;
  const redraw = () => {
    if (!holder.clientWidth || holder.clientWidth === width) return;
    width = holder.clientWidth;
    holder.replaceChildren(draw(spec, width, width > WIDE ? 340 : 260, tip), tip);
  };
  new ResizeObserver(redraw).observe(holder);
  return figure;
}

function extent(values, zero) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value == null) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return [0, 1];
  if (zero) low = Math.min(0, low);
  return low === high ? [low * 0.9 || 0, high * 1.1 || 1] : [low, high];
}

function draw(spec, width, height, tip) {
  const points = spec.series.flatMap((series) => series.points);
  const [x0, x1] = spec.x.levels
    ? extent(spec.x.levels, false)
    : extent(points.map((p) => p.x), spec.x.zero);
  const ys = points.flatMap((p) => [p.y, p.low, p.high]).filter((y) => y == null || !spec.y.log || y > 0);
  const [y0, y1] = extent(spec.rule == null ? ys : [...ys, spec.rule], spec.y.zero && !spec.y.log);
  const steps = ticks(y0, y1, 5, spec.y.log);
  const left = MARGIN.left + DIGIT * Math.max(...steps.map((tick) => shown(tick).length));
  const inner = { left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
  const x = scale(x0, x1, inner.left + 8, inner.right - 8, spec.x.log);
  const y = scale(y0, y1, inner.bottom - 4, inner.top + 6, spec.y.log);
  const svg = shape("svg", {
    viewBox: `0 0 ${width} ${height}`, width, height, tabindex: 0, role: "application",
    "aria-roledescription": "figure",
    "aria-label": `${spec.title}. ${points.length} points; arrow keys move through them.`,
  });
  axes(svg, spec, inner, { x, y, x0, x1, steps });
  const placed = [];
  for (const series of spec.series) plotSeries(svg, series, { x, y, log: spec.y.log }, placed);
  plotLabels(svg, placed, inner);
  interact(svg, placed, tip, spec);
  return svg;
}

function axes(svg, spec, inner, { x, y, x0, x1, steps }) {
  const xs = spec.x.levels ?? ticks(x0, x1, 5, spec.x.log, spec.x.base);
  let last = -Infinity;
  for (const tick of xs) {
    if (x(tick) - last < 24) continue;
    last = x(tick);
    svg.append(
      shape("line", { class: "grid", x1: x(tick), x2: x(tick), y1: inner.top, y2: inner.bottom }),
      shape("text", { class: "tick", x: x(tick), y: inner.bottom + 14, "text-anchor": "middle" }, shown(tick)),
    );
  }
  for (const tick of steps) {
    svg.append(
      shape("line", { class: "grid", x1: inner.left, x2: inner.right, y1: y(tick), y2: y(tick) }),
      shape("text", { class: "tick", x: inner.left - 6, y: y(tick) + 4, "text-anchor": "end" }, shown(tick)),
    );
  }
  if (spec.rule != null) {
    svg.append(shape("line", { class: "rule", x1: inner.left, x2: inner.right, y1: y(spec.rule), y2: y(spec.rule) }));
  }
  const middle = (inner.top + inner.bottom) / 2;
  svg.append(
    shape("line", { class: "axis", x1: inner.left, x2: inner.right, y1: inner.bottom, y2: inner.bottom }),
    shape("line", { class: "axis", x1: inner.left, x2: inner.left, y1: inner.top, y2: inner.bottom }),
    shape("text", { class: "label", x: (inner.left + inner.right) / 2, y: inner.bottom + 32, "text-anchor": "middle" }, spec.x.label),
    shape("text", { class: "label", transform: `translate(12 ${middle}) rotate(-90)`, "text-anchor": "middle" }, spec.y.label),
  );
}

function plotSeries(svg, series, { x, y, log }, placed) {
  const colour = series.look.colour;
  const good = series.points.filter((p) => p.y != null && (!log || p.y > 0));
  if (series.line !== false && good.length > 1) {
    const path = good.map((p, i) => `${i ? "L" : "M"}${x(p.x).toFixed(1)} ${y(p.y).toFixed(1)}`).join("");
    svg.append(shape("path", { d: path, fill: "none", stroke: colour, "stroke-width": 2, "stroke-dasharray": DASHES[series.look.dash] ?? "" }));
  }
  for (const point of good) {
    const [px, py] = [x(point.x), y(point.y)];
    if (point.low != null && point.high != null && (!log || point.low > 0)) {
      const [top, bottom] = [y(point.high), y(point.low)];
      svg.append(shape("path", { d: `M${px - 3} ${top}h6m-3 0V${bottom}m-3 0h6`, stroke: colour, fill: "none", "stroke-width": 1.2 }));
    }
    if (series.marks !== false) {
      svg.append(shape("path", { class: "mark", d: MARKS[series.look.marker] ?? MARKS.o, transform: `translate(${px.toFixed(1)} ${py.toFixed(1)})`, fill: colour }));
    }
    placed.push({ px, py, series, point });
  }
}

// The load beside a point, where no other label is in the way.
function plotLabels(svg, placed, inner) {
  const taken = placed.map(({ px, py }) => ({ x: px, y: py, w: 5, h: 5 }));
  for (const { px, py, point } of placed) {
    if (!point.label) continue;
    const box = { x: px + 5 + 3.2 * point.label.length, y: py - 8, w: 3.2 * point.label.length, h: 6 };
    const free = box.x + box.w < inner.right && box.y - box.h > inner.top - 4;
    if (!free || taken.some((t) => Math.abs(t.x - box.x) < t.w + box.w && Math.abs(t.y - box.y) < t.h + box.h)) continue;
    taken.push(box);
    svg.append(shape("text", { class: "tick", x: px + 5, y: py - 4 }, point.label));
  }
}

// One tab stop a figure: arrows walk a strategy's points, up and down change strategy.
function interact(svg, placed, tip, spec) {
  if (!placed.length) return;
  const ring = shape("circle", { class: "ring", r: 7, visibility: "hidden" });
  svg.append(ring);
  let at = -1;
  const show = (index, speak) => {
    at = index;
    const { px, py, series, point } = placed[index];
    ring.setAttribute("cx", px);
    ring.setAttribute("cy", py);
    ring.setAttribute("visibility", "visible");
    tip.textContent = pointText(series, point, spec);
    tip.hidden = false;
    placeTip(tip, px, py, svg.clientWidth);
    if (speak) byId("live").textContent = tip.textContent;
  };
  const hide = () => {
    tip.hidden = true;
    ring.setAttribute("visibility", "hidden");
  };
  const nearest = (event) => {
    const box = svg.getBoundingClientRect();
    const [mx, my] = [event.clientX - box.left, event.clientY - box.top];
    let best = -1;
    let near = (event.pointerType === "mouse" ? 30 : 44) ** 2;
    placed.forEach(({ px, py }, index) => {
      const distance = (px - mx) ** 2 + (py - my) ** 2;
      if (distance < near) [best, near] = [index, distance];
    });
    if (best < 0) hide();
    else show(best, false);
  };
  svg.addEventListener("pointermove", nearest);
  svg.addEventListener("pointerdown", nearest);
  // A finger leaves the figure as soon as it is lifted: what it tapped stays to be read.
  svg.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && hide());
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hide();
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const turn = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step == null && turn == null) return;
    event.preventDefault();
    if (at < 0) return show(0, true);
    if (step != null) return show((at + step + placed.length) % placed.length, true);
    const names = unique(placed.map((p) => p.series.name));
    const next = names[(names.indexOf(placed[at].series.name) + turn + names.length) % names.length];
    show(placed.findIndex((p) => p.series.name === next), true);
  });
}

function placeTip(tip, px, py, width) {
  tip.style.left = "0px";
  tip.style.left = `${Math.max(0, Math.min(px + 10, width - tip.offsetWidth))}px`;
  tip.style.top = `${Math.max(0, py - tip.offsetHeight - 10)}px`;
}

function pointText(series, point, spec) {
  const interval = point.low == null ? "" : ` [${shown(point.low)}, ${shown(point.high)}]`;
  const extra = point.text ? `, ${point.text}` : "";
  return `${series.name}: ${shown(point.y)}${interval}; ${point.where ?? `${spec.x.short ?? spec.x.label} ${shown(point.x)}`}${extra}`;
}

function numbers(spec) {
  const table = element("div");
  const fill = (event) => {
    if (!event.target.open || table.firstChild) return;
    const rows = spec.series.flatMap((s) => s.points.map((p) => [s.name, p.x, p.y, p.low, p.high]));
    table.append(plainTable(["Strategy", spec.x.label, spec.y.label, "From", "To"], rows));
  };
  return element("details", { ontoggle: fill }, element("summary", {}, "The numbers of this figure"), table);
}
