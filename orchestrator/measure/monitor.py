"""Watches a server while it is measured: its own counters, its processes, the GPUs, once a second.

What it saw is kept in Parquet beside the run. It also ends a run that can only wait: when the
server's process is gone, or when requests are there and no token is made any more.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import psutil

from catalog.errors import ServerDied, ServerError
from orchestrator.measure.control import Control
from orchestrator.measure.gpu_samples import GpuSampler
from orchestrator.measure.samples import SampleTable
from workloads.figures.server_metrics import Scrape, parse_metrics
from workloads.transcript import clean_error

PERIOD_S = 1.0
STALL_S = 60.0
"""Without any new token while requests are there; a saturated server still makes some. A server
whose first tokens take longer has longer: see `stall_s` and `_check_for_stall`."""
PATIENCE = 3.0
"""A server may be silent for so many times the longest silence that it has shown."""
MOST_RANKS = 1024
FEWEST_SAMPLES = 20
"""Of the queue, once a second: fewer are no mean."""

GAUGES = {
    "running": "vllm:num_requests_running",
    "waiting": "vllm:num_requests_waiting",
    "kv_usage": "vllm:kv_cache_usage_perc",
    "generation_tokens": "vllm:generation_tokens_total",
    "prompt_tokens": "vllm:prompt_tokens_total",
    "preemptions": "vllm:num_preemptions_total",
    "prefix_queries": "vllm:prefix_cache_queries_total",
    "prefix_hits": "vllm:prefix_cache_hits_total",
}
# llama.cpp and SGLang count a request's tokens when it ends, but each step or token at once.
PROGRESS = (
    GAUGES["generation_tokens"],
    GAUGES["prompt_tokens"],
    "llamacpp:n_decode_total",
    "vllm:time_to_first_token_seconds_count",
    "vllm:inter_token_latency_seconds_count",
    "sglang:realtime_tokens_total",
)


@dataclass(slots=True)
class ServerMonitor:
    """Samples one server during a run; `failure` is set once the server is dead or stalled."""

    control: Control
    stop: asyncio.Event
    """Set to end the load when the server has failed."""
    alive: Callable[[], None]
    """Raises once the server's process is gone."""
    pid: int | None = None
    gpus: Sequence[int] = ()
    stall_s: float | None = None
    """How long no token may come before it is a stall; None is the usual time."""
    failure: ServerError | None = None
    server: SampleTable = field(default_factory=SampleTable)
    host: SampleTable = field(default_factory=SampleTable)
    gpu: SampleTable = field(default_factory=SampleTable)
    _started_s: float = 0.0
    _progress: tuple[float, float] = (0.0, -1.0)
    """When tokens were last seen to increase, and their number then."""

    @contextlib.asynccontextmanager
    async def sampling(self) -> AsyncIterator["ServerMonitor"]:
        self._started_s = time.perf_counter()
        self._progress = (0.0, -1.0)
        task = asyncio.create_task(self._loop())
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _loop(self) -> None:
        with GpuSampler.open(self.gpus) as gpus:
            while self.failure is None:
                now_s = time.perf_counter() - self._started_s
                self._sample_process(now_s)
                await self._sample_server(now_s)
                for sample in gpus.sample():
                    self.gpu.add(t_s=now_s, **sample)
                await asyncio.sleep(PERIOD_S)

    def _sample_process(self, now_s: float) -> None:
        try:
            self.alive()
        except ServerDied as error:
            self._fail(error)
            return
        if self.pid is None:
            return
        with contextlib.suppress(psutil.Error):
            tree = psutil.Process(self.pid).children(recursive=True)
            self.host.add(t_s=now_s, processes=len(tree), **_usage(tree))

    async def _sample_server(self, now_s: float) -> None:
        text = await self.control.metrics()
        if text is None or self.failure is not None:
            return
        scrape = parse_metrics(text)
        gauges = {name: _by_rank(scrape, metric) for name, metric in GAUGES.items()}
        for rank in sorted(gauges["running"])[:MOST_RANKS]:
            values = {name: by_rank.get(rank) for name, by_rank in gauges.items()}
            self.server.add(t_s=now_s, rank=clean_error(rank), **values)
        self._check_for_stall(scrape, now_s)

    @property
    def limit_s(self) -> float:
        return STALL_S if self.stall_s is None else self.stall_s

    def _check_for_stall(self, scrape: Scrape, now_s: float) -> None:
        counted = [total for name in PROGRESS if (total := scrape.total(name)) is not None]
        if not counted:
            return  # what is not counted cannot stand still
        tokens, in_flight = sum(counted), queued(scrape)
        since_s, before = self._progress
        if tokens != before or not in_flight:
            if before >= 0 and tokens != before:
                # What it needed once it may need again, and some more.
                self.stall_s = max(self.limit_s, PATIENCE * (now_s - since_s))
            self._progress = (now_s, tokens)
        elif now_s - since_s > self.limit_s:
            self._fail(
                ServerError(
                    f"ENGINE_STALLED: {in_flight:.0f} requests are in the server (data-parallel "
                    f"ranks {', '.join(_busy(scrape))}) and no token was made for "
                    f"{self.limit_s:.0f} s",
                    stage="serving",
                )
            )

    def _fail(self, error: ServerError) -> None:
        self.failure = error
        self.stop.set()

    def mean_in_flight(self) -> float | None:
        """Return the mean of requests inside the server; None of too few samples to tell."""
        in_flight: dict[float, float] = defaultdict(float)
        for row in self.server.rows:
            at_s, running, waiting = (row[name] for name in ("t_s", "running", "waiting"))
            if not isinstance(at_s, float) or not isinstance(running, float):
                return None
            in_flight[at_s] += running + (waiting if isinstance(waiting, float) else 0.0)
        return fmean(in_flight.values()) if len(in_flight) >= FEWEST_SAMPLES else None

    def write(self, folder: Path) -> None:
        """Write what was seen; what was not there has no file."""
        for name in ("server", "host", "gpu"):
            samples: SampleTable = getattr(self, name)
            samples.write(folder / f"{name}.parquet")


def queued(scrape: Scrape) -> float:
    """Return how many requests are inside the server, running or waiting."""
    return sum(scrape.total(GAUGES[name]) or 0.0 for name in ("running", "waiting"))


def _busy(scrape: Scrape) -> list[str]:
    running = _by_rank(scrape, GAUGES["running"])
    return [clean_error(rank) for rank in sorted(running) if running[rank]][:MOST_RANKS]


def _by_rank(scrape: Scrape, metric: str) -> dict[str, float]:
    """Sum a metric over all labels but the data-parallel rank."""
    found: dict[str, float] = defaultdict(float)
    for labels, value in scrape.samples(metric):
        found[labels.get("engine", "0")] += value
    return dict(found)


def _usage(tree: Sequence[psutil.Process]) -> dict[str, float]:
    resident_bytes, cpu_s = 0, 0.0
    for process in tree:
        with contextlib.suppress(psutil.Error):
            resident_bytes += process.memory_info().rss
            times = process.cpu_times()
            cpu_s += times.user + times.system
    return {"resident_bytes": resident_bytes, "cpu_s": cpu_s}
