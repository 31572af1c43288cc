"""The server's own view of a run: its Prometheus counters and histograms over the run's window."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from catalog.bounded import MEASURED

MetricLabels = tuple[tuple[str, str], ...]

# No step of these is ever taken back (`*+`), and labels are read one behind the other: a line costs
# what it is long, whatever is in it. `workloads` parses them while it measures.
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*+)(?:\{(.*)\})?\s++(\S++)(?:\s++-?\d++)?")
_TYPE = re.compile(r"#\s++TYPE\s++(\S++)\s++gauge\s*+")
EXEMPLAR = " # {"
"""Where OpenMetrics puts a sample's exemplar."""
_LABEL = re.compile(r'[\s,]*+([a-zA-Z_][a-zA-Z0-9_]*+)\s*+=\s*+"((?:[^"\\]|\\.)*+)"')
LONGEST_LINE = 16_384
MOST_SAMPLES = 100_000

# The figure of the run table, and the server's histogram it is the mean of.
HISTOGRAMS = {
    "server_mean_ttft_ms": "vllm:time_to_first_token_seconds",
    "server_mean_itl_ms": "vllm:inter_token_latency_seconds",
    "server_mean_e2el_ms": "vllm:e2e_request_latency_seconds",
    "server_mean_queue_ms": "vllm:request_queue_time_seconds",
}
COUNTERS = {
    "server_prompt_tokens": "vllm:prompt_tokens_total",
    "server_generation_tokens": "vllm:generation_tokens_total",
    "server_requests": "vllm:request_success_total",
    "server_preemptions": "vllm:num_preemptions_total",
    "server_prefix_cache_queries": "vllm:prefix_cache_queries_total",
    "server_prefix_cache_hits": "vllm:prefix_cache_hits_total",
}
COMPARED = ("ttft", "itl", "e2el")
TOLERANCE, TOLERANCE_MS = 0.05, 1.0


@dataclass(frozen=True, slots=True)
class Scrape:
    """One reading of `/metrics`: values by name and labels."""

    values: Mapping[tuple[str, MetricLabels], float] = field(default_factory=dict)
    gauges: frozenset[str] = frozenset()
    """Names that the server says may fall."""

    def samples(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        for (found, labels), value in self.values.items():
            if found == name:
                yield dict(labels), value

    def total(self, name: str) -> float | None:
        """Sum over all labels; None where the server does not have it."""
        found = [value for _, value in self.samples(name)]
        return sum(found) if found else None

    @property
    def started(self) -> list[float]:
        """When its processes began, where it says that."""
        return sorted(value for _, value in self.samples("process_start_time_seconds"))

    def counters(self) -> dict[str, float]:
        """All that only ever grow, each summed over its labels."""
        sums: dict[str, float] = {}
        for (name, _), value in self.values.items():
            if name.endswith("_total") and name not in self.gauges:
                sums[name] = sums.get(name, 0.0) + value
        return sums


def parse_metrics(text: str) -> Scrape:
    """Read Prometheus' text format; a line that is not of it is passed over.

    So is a value that no meter here reads (NaN, infinity, more than 2^53), a line that is longer
    than any, and what comes after more samples than any server has.
    """
    values: dict[tuple[str, MetricLabels], float] = {}
    gauges: set[str] = set()
    for line in text.splitlines():
        if len(values) >= MOST_SAMPLES:
            break
        if len(line) > LONGEST_LINE:
            continue
        if line.startswith("#"):
            if len(gauges) < MOST_SAMPLES and (typed := _TYPE.fullmatch(line)):
                gauges.add(typed[1])
            continue
        match = _SAMPLE.fullmatch(line.partition(EXEMPLAR)[0].strip())
        if match is None:
            continue
        value = MEASURED.parse(match[3])
        if value is None:
            continue
        values[match[1], _labels(match[2] or "")] = value
    return Scrape(values, frozenset(gauges))


def _labels(text: str) -> MetricLabels:
    """Read labels from the left, up to what is none."""
    found, at = [], 0
    while match := _LABEL.match(text, at):
        found.append((match[1], match[2]))
        at = match.end()
    return tuple(found)


@dataclass(frozen=True, slots=True)
class MetricsWindow:
    """What the server counted between two scrapes."""

    before: Scrape
    after: Scrape

    @property
    def restarted(self) -> bool:
        """True when differences mean nothing: a counter went back, or its process is another."""
        then, now = self.before.started, self.after.started
        if then and now and then != now:
            return True
        after = self.after.counters()
        return any(after.get(name, was) < was for name, was in self.before.counters().items())

    def counted(self, name: str) -> float | None:
        """The increase of a counter, over all labels."""
        after, before = self.after.total(name), self.before.total(name)
        return None if after is None else after - (before or 0.0)

    def mean_ms(self, histogram: str) -> float | None:
        """The mean of what was observed in the window; None where nothing was."""
        seconds, count = self.counted(f"{histogram}_sum"), self.counted(f"{histogram}_count")
        return seconds / count * 1e3 if seconds is not None and count else None

    def figures(self) -> dict[str, float | None]:
        """Columns of the run table; an absent metric is absent, not zero."""
        means = {column: self.mean_ms(name) for column, name in HISTOGRAMS.items()}
        counts = {column: self.counted(name) for column, name in COUNTERS.items()}
        return {**means, **counts}


def window(before: Scrape, after: Scrape) -> MetricsWindow:
    return MetricsWindow(before, after)


def disagreements(
    client: Mapping[str, float | int | None], server: Mapping[str, float | None]
) -> Iterator[str]:
    """Say where client and server differ by more than 5 % + 1 ms in a mean latency."""
    for metric in COMPARED:
        own_name = f"mean_{metric}_ms" if metric == "itl" else f"mean_{metric}_from_send_ms"
        own, other = client.get(own_name), server.get(f"server_mean_{metric}_ms")
        if own is None or other is None:
            continue
        if abs(own - other) > TOLERANCE * other + TOLERANCE_MS:
            yield (
                f"SERVER_DISAGREES: mean {metric.upper()} is {own:.2f} ms to the client and "
                f"{other:.2f} ms to the server; look at the client's load, proxies and the network"
            )
