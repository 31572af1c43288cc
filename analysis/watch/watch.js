// Asks every two seconds how the study stands, and shows what has changed.

const EVERY_MS = 2000;
const table = { page: 0, sort: null, down: false, find: "" };
const opened = new Set();
let runs = "";

function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

function stateText(seen) {
  if (!seen.there) return "Nothing is there yet.";
  const done = Object.values(seen.verdicts).reduce((sum, n) => sum + n, 0);
  const known = seen.planned == null ? `${done} runs are done` : `${seen.planned - seen.left} of ${seen.planned} runs are done`;
  const since = seen.since_s == null ? "" : `, the last ${duration(seen.since_s)} ago`;
  if (seen.left === 0) return `All ${seen.planned} runs are done.`;
  if (seen.ended) return `${known}; moeserve has ended.`;
  return `${known}${since}${seen.left_s == null ? "" : `; about ${duration(seen.left_s)} left at this pace`}.`;
}

function drawBar(seen) {
  const bar = byId("bar");
  bar.hidden = seen.planned == null;
  if (!bar.hidden) Object.assign(bar, { max: seen.planned || 1, value: seen.planned - seen.left });
}

function drawNow(seen) {
  const lines = seen.now.map((run) => `${run.name}: ${run.ended}${run.of == null ? "" : ` of ${run.of}`} requests`);
  byId("now-list").replaceChildren(...lines.map((text) => element("li", {}, text)));
  const fold = byId("server");
  fold.hidden = !seen.server || seen.ended;
  if (!fold.hidden) {
    fold.querySelector("summary").textContent = `The server started last: ${seen.server.name}`;
    fold.querySelector("pre").textContent = seen.server.log || "It has no log.";
  }
  byId("now").hidden = seen.ended || (!lines.length && fold.hidden);
}

function drawFailures(seen) {
  byId("failures").hidden = !seen.failures.length;
  const made = seen.failures.map((failure) => {
    const key = `${failure.run} ${failure.at}`;
    const toggle = (event) => (event.target.open ? opened.add(key) : opened.delete(key));
    const mended = failure.mended ? " (done since)" : "";
    const head = element("p", {}, element("strong", {}, failure.run), `: ${failure.error}${mended}`);
    if (!failure.log) return head;
    const log = element("details", { open: opened.has(key), ontoggle: toggle }, element("summary", {}, "The end of its log"), element("pre", { tabindex: 0 }, failure.log));
    return element("div", {}, head, log);
  });
  byId("failure-list").replaceChildren(...made);
}

function drawRuns(seen) {
  const text = JSON.stringify(seen.runs);
  // Who is typing a search keeps the field; the next look has the rows too.
  if (text === runs || byId("run-table").contains(document.activeElement)) return;
  runs = text;
  byId("runs").hidden = !seen.runs.rows;
  if (seen.runs.rows) dataTable(byId("run-table"), seen.runs, "runs", table);
}

function draw(seen) {
  byId("name").textContent = seen.name;
  document.title = `${seen.name}: moeserve watch`;
  byId("state").textContent = stateText(seen);
  byId("counts").textContent = Object.entries(seen.verdicts).map(([verdict, n]) => `${n} ${verdict}`).join(" · ");
  drawBar(seen);
  drawNow(seen);
  drawFailures(seen);
  drawRuns(seen);
}

async function look() {
  try {
    const answer = await fetch("state");
    if (!answer.ok) throw new Error(`${answer.status}`);
    draw(await answer.json());
  } catch {
    byId("state").textContent = "moeserve does not answer any more; below is what it said last. To see it again: moeserve watch DIR.";
  }
  setTimeout(look, EVERY_MS);
}

look();
