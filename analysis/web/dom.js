// Elements by text and attributes alone: names from files never become markup.
const SVG = "http://www.w3.org/2000/svg";

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, String(value));
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

function shape(tag, attributes = {}, text = null) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  if (text != null) made.textContent = text;
  return made;
}

const byId = (id) => document.getElementById(id);
const unique = (values) => [...new Set(values)];

// A column of the payload: numbers as they are, text through its list of levels.
function column(packed) {
  if (Array.isArray(packed)) return packed;
  return packed.codes.map((code) => packed.levels[code]);
}

// Four significant digits, thousands set apart as on the terminal; a dash for what is not known.
function shown(value) {
  if (value == null || value === "") return "–";
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  if (size >= 1e4 && size < 1e15) return Math.round(value).toLocaleString("en-US");
  if (Number.isInteger(value)) return String(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e15)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}
