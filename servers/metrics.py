"""`/metrics` in Prometheus' text format, under vLLM's names."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

BUCKETS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75,
    1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip


class Queue(Protocol):
    """One rank's queue, and how full its cache is."""

    @property
    def num_running(self) -> int: ...
    @property
    def num_waiting(self) -> int: ...
    @property
    def kv_usage(self) -> float: ...
    @property
    def preemptions(self) -> int: ...
    @property
    def prefix_queries(self) -> int: ...
    @property
    def prefix_hits(self) -> int: ...


class Histogram:
    """Counts by bucket, with the sum, of one rank's observations."""

    def __init__(self) -> None:
        self.counts = np.zeros(len(BUCKETS_S) + 1, np.int64)
        self.sum_s = 0.0

    def observe(self, values_s: Sequence[float]) -> None:
        where = np.searchsorted(BUCKETS_S, values_s)
        self.counts += np.bincount(where, minlength=len(self.counts))
        self.sum_s += float(np.sum(values_s))

    def lines(self, name: str, labels: str) -> Iterator[str]:
        cumulative = np.cumsum(self.counts)
        for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), cumulative, strict=True):
            yield f'{name}_bucket{{{labels},le="{bound}"}} {count}'
        yield f"{name}_count{{{labels}}} {cumulative[-1]}"
        yield f"{name}_sum{{{labels}}} {self.sum_s}"


class Metrics:
    """What the server says of itself, by data-parallel rank."""

    def __init__(self, model_name: str, ranks: int) -> None:
        self._model_name = model_name
        self._ranks = range(ranks)
        self._prompt_tokens: Counter[int] = Counter()
        self._generated: Counter[int] = Counter()
        self._success: Counter[tuple[int, str]] = Counter()
        self._ttft = [Histogram() for _ in self._ranks]
        self._itl = [Histogram() for _ in self._ranks]
        self._e2e = [Histogram() for _ in self._ranks]

    def arrived(self, rank: int, prompt_tokens: int) -> None:
        self._prompt_tokens[rank] += prompt_tokens

    def finished(self, rank: int, reason: str, arrived_s: float, times_s: Sequence[float]) -> None:
        self._success[rank, reason] += 1
        self._generated[rank] += len(times_s)
        if times_s:
            self._ttft[rank].observe([times_s[0] - arrived_s])
            self._e2e[rank].observe([times_s[-1] - arrived_s])
        if len(times_s) > 1:
            self._itl[rank].observe(np.diff(times_s).tolist())

    def text(self, queues: Sequence[Queue]) -> str:
        """Render the current values; gauges come from the queues themselves."""
        return "\n".join(self._lines(queues)) + "\n"

    def _lines(self, queues: Sequence[Queue]) -> Iterator[str]:
        gauges: dict[str, list[float]] = {
            "num_requests_running": [queue.num_running for queue in queues],
            "num_requests_waiting": [queue.num_waiting for queue in queues],
            "kv_cache_usage_perc": [queue.kv_usage for queue in queues],
        }
        counters: dict[str, list[float]] = {
            "prompt_tokens_total": [self._prompt_tokens[rank] for rank in self._ranks],
            "generation_tokens_total": [self._generated[rank] for rank in self._ranks],
            "num_preemptions_total": [queue.preemptions for queue in queues],
            "prefix_cache_queries_total": [queue.prefix_queries for queue in queues],
            "prefix_cache_hits_total": [queue.prefix_hits for queue in queues],
        }
        for kind, families in (("gauge", gauges), ("counter", counters)):
            for name, values in families.items():
                yield f"# TYPE vllm:{name} {kind}"
                for rank, value in enumerate(values):
                    yield f"vllm:{name}{{{self._labels(rank)}}} {value}"
        yield from self._successes()
        yield from self._histograms()

    def _successes(self) -> Iterator[str]:
        yield "# TYPE vllm:request_success_total counter"
        for rank in self._ranks:
            for reason in ("stop", "length", "abort", "error"):
                labels = f'{self._labels(rank)},finished_reason="{reason}"'
                yield f"vllm:request_success_total{{{labels}}} {self._success[rank, reason]}"

    def _histograms(self) -> Iterator[str]:
        families = (
            ("vllm:time_to_first_token_seconds", self._ttft),
            ("vllm:inter_token_latency_seconds", self._itl),
            ("vllm:e2e_request_latency_seconds", self._e2e),
        )
        for name, histograms in families:
            yield f"# TYPE {name} histogram"
            for rank, histogram in enumerate(histograms):
                yield from histogram.lines(name, self._labels(rank))

    def _labels(self, rank: int) -> str:
        return f'engine="{rank}",model_name="{self._model_name}"'
