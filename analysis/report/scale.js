// From numbers to pixels.

function scale(low, high, from, to, logarithmic) {
  const value = logarithmic ? Math.log2 : (x) => x;
  const span = value(high) - value(low) || 1;
  return (x) => from + ((value(x) - value(low)) / span) * (to - from);
}

// Round numbers about `count` apart: 1, 2, 5, 10 … on a logarithmic axis, plain steps on a short one.
function ticks(low, high, count, logarithmic, base = 10) {
  if (logarithmic && base === 2 && high / low >= 4) return doublings(low, high);
  if (logarithmic && high / low >= 8) {
    const made = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const step of high / low > 300 ? [1] : [1, 2, 5]) {
        const tick = step * 10 ** power;
        if (tick >= low * 0.999 && tick <= high * 1.001) made.push(tick);
      }
    }
    return made;
  }
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= rough);
  const made = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step / 1e6; tick += step) {
    made.push(Number(tick.toPrecision(12)));
  }
  return made;
}

function doublings(low, high) {
  const made = [];
  for (let power = Math.ceil(Math.log2(low * 0.97)); 2 ** power <= high * 1.03; power++) made.push(2 ** power);
  return made;
}

// The four fixed strategies have their own mark; others share the rest.
const MARKS = {
  o: "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0",
  s: "M-3.2-3.2h6.4v6.4h-6.4z",
  "^": "M0-4L4 3.4H-4z",
  D: "M0-4.4L4.4 0L0 4.4L-4.4 0z",
  v: "M0 4L4-3.4H-4z",
  P: "M-1.3-4h2.6v2.7h2.7v2.6h-2.7v2.7h-2.6v-2.7h-2.7v-2.6h2.7z",
  X: "M-3.6-2L-2-3.6L0-1.6L2-3.6L3.6-2L1.6 0L3.6 2L2 3.6L0 1.6L-2 3.6L-3.6 2L-1.6 0z",
  "*": "M0-4.6L1.2-1.4L4.5-1.3L1.9.7L2.8 3.9L0 2.1L-2.8 3.9L-1.9.7L-4.5-1.3L-1.2-1.4z",
  "<": "M-4 0L3.4-4V4z",
  ">": "M4 0L-3.4-4V4z",
  h: "M0-4.2L3.6-2.1V2.1L0 4.2L-3.6 2.1V-2.1z",
};
const DASHES = { "-": "", "--": "6 4", "-.": "8 3 2 3", ":": "2 3" };
