// Tables of any length: sorted by their headings, searched, a page at a time.

const PAGE = 10;
const LONG = 40;
const MOST_NOTES = 12;

function plainTable(headings, rows) {
  const head = element("tr", {}, ...headings.map((h) => element("th", { scope: "col" }, h)));
  const body = rows.map((row) => element("tr", {}, ...row.map((cell) => element("td", {}, shown(cell)))));
  return element(
    "div",
    { class: "scroll", role: "region", tabindex: 0, "aria-label": "Numbers of the figure" },
    element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)),
  );
}

// What stands once: columns of one value above the table, long texts that repeat below it.
function folded(packed) {
  const made = { same: [], notes: [], columns: [] };
  packed.columns.forEach((heading, i) => {
    const values = column(packed.cells[i]);
    const text = packed.cells[i].levels;
    const several = packed.rows > 1;
    if (several && (text ? text.length === 1 : values.every((v) => v === values[0]))) {
      made.same.push(`${heading} ${shown(values[0])}`);
    } else if (text && text.length <= MOST_NOTES && text.some((each) => each.length > LONG)) {
      const first = made.notes.length;
      const filled = text.filter(Boolean);
      made.notes.push(...filled);
      made.columns.push({ heading, values: values.map((v) => (v ? `(${first + filled.indexOf(v) + 1})` : "")) });
    } else {
      made.columns.push({ heading, values, long: Boolean(text?.some((each) => each.length > LONG)) });
    }
  });
  return made;
}

// `state` is kept by who draws the same table again, with more rows.
function dataTable(holder, packed, name, state = { page: 0, sort: null, down: false, find: "" }) {
  const { same, notes, columns } = folded(packed);
  const cells = columns.map((each) => each.values);
  const all = Array.from({ length: packed.rows }, (_, i) => i);
  // Joined once, so that a search over thousands of rows stays instant.
  let texts = null;
  const text = (i) => (texts ??= all.map((j) => cells.map((c) => shown(c[j])).join("\u0001").toLowerCase()))[i];
  const status = element("span", { "aria-live": "polite" });
  const head = element("tr");
  const body = element("tbody");
  const pick = () => {
    const found = state.find ? all.filter((i) => text(i).includes(state.find)) : all.slice();
    const by = columns.find((each) => each.heading === state.sort)?.values;
    if (by) found.sort((a, b) => (state.down ? -1 : 1) * order(by[a], by[b]));
    return found;
  };
  const draw = () => {
    const found = pick();
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    state.page = Math.min(state.page, pages - 1);
    const here = found.slice(state.page * PAGE, (state.page + 1) * PAGE);
    body.replaceChildren(...here.map((i) => element("tr", {}, ...columns.map((each) => dataCell(each, each.values[i])))));
    status.textContent = `${shown(found.length)} rows, page ${state.page + 1} of ${pages}`;
    back.disabled = state.page === 0;
    forward.disabled = state.page >= pages - 1;
    [...head.children].forEach((th, i) => {
      const sorted = columns[i].heading === state.sort ? (state.down ? "descending" : "ascending") : "none";
      th.setAttribute("aria-sort", sorted);
    });
  };
  const turn = (by) => () => {
    state.page += by;
    draw();
  };
  const back = element("button", { type: "button", onclick: turn(-1) }, "Previous");
  const forward = element("button", { type: "button", onclick: turn(1) }, "Next");
  columns.forEach(({ heading }) => {
    const sort = () => {
      Object.assign(state, { down: state.sort === heading && !state.down, sort: heading, page: 0 });
      draw();
    };
    head.append(element("th", { scope: "col" }, element("button", { type: "button", onclick: sort }, heading)));
  });
  const search = element("input", {
    type: "search",
    value: state.find,
    oninput: (event) => {
      Object.assign(state, { find: event.target.value.trim().toLowerCase(), page: 0 });
      draw();
    },
  });
  const table = element("table", { class: "cards" }, element("thead", {}, head), body);
  holder.replaceChildren(
    ...(same.length ? [element("p", { class: "quiet" }, `The same in all ${shown(packed.rows)} rows: ${same.join(" · ")}`)] : []),
    element("div", { class: "controls" }, element("label", {}, `Search ${name} `, search), back, forward, status),
    element("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": `Table of ${name}` }, table),
    ...notes.map((text, i) => element("p", { class: "quiet" }, `(${i + 1}) ${text}`)),
  );
  draw();
}

function dataCell({ heading, long }, value) {
  const empty = value == null || value === "";
  const kind = typeof value === "number" ? "number" : long ? "long" : null;
  return element("td", { class: empty ? "empty" : kind, "data-label": heading }, empty ? "" : shown(value));
}

// Missing values last, numbers by size, text by alphabet.
function order(a, b) {
  const [noA, noB] = [a == null || a === "", b == null || b === ""];
  if (noA || noB) return noA - noB;
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}
