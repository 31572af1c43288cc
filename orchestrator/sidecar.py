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
from orchestrator.engines.control import Control
from orchestrator.gpusamples import GpuSampler
from orchestrator.samples import Samples
from workloads.server_metrics import Scrape, parse_metrics

PERIOD_S = 1.0
STALL_S = 60.0
"""Without any new token while requests are there; a saturated server still makes some."""
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
# llama.cpp counts a request's tokens when it ends, and each of its steps at once.
PROGRESS = (GAUGES["generation_tokens"], GAUGES["prompt_tokens"], "llamacpp:n_decode_total")


@dataclass(slots=True)
class Sidecar:
    """One run's watcher; `failure` is set once the run can only wait."""

    control: Control
    stop: asyncio.Event
    """Set to end the load when the server has failed."""
    alive: Callable[[], None]
    """Raises once the server's process is gone."""
    pid: int | None = None
    gpus: Sequence[int] = ()
    failure: ServerError | None = None
    server: Samples = field(default_factory=Samples)
    host: Samples = field(default_factory=Samples)
    gpu: Samples = field(default_factory=Samples)
    _began_s: float = 0.0
    _progress: tuple[float, float] = (0.0, -1.0)
    """When tokens were last seen to increase, and their number then."""

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator["Sidecar"]:
        self._began_s = time.perf_counter()
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
                now_s = time.perf_counter() - self._began_s
                self._look_at_process(now_s)
                await self._look_at_server(now_s)
                for sample in gpus.sample():
                    self.gpu.add(t_s=now_s, **sample)
                await asyncio.sleep(PERIOD_S)

    def _look_at_process(self, now_s: float) -> None:
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

    async def _look_at_server(self, now_s: float) -> None:
        text = await self.control.metrics()
        if text is None or self.failure is not None:
            return
        scrape = parse_metrics(text)
        for rank in sorted(_ranks(scrape)):
            values = {name: _of_rank(scrape, metric, rank) for name, metric in GAUGES.items()}
            self.server.add(t_s=now_s, rank=rank, **values)
        self._look_for_stall(scrape, now_s)

    def _look_for_stall(self, scrape: Scrape, now_s: float) -> None:
        tokens = sum(scrape.total(name) or 0.0 for name in PROGRESS)
        inside = queued(scrape)
        since_s, before = self._progress
        if tokens != before or not inside:
            self._progress = (now_s, tokens)
        elif now_s - since_s > STALL_S:
            self._fail(
                ServerError(
                    f"ENGINE_STALLED: {inside:.0f} requests are in the server (data-parallel "
                    f"ranks {', '.join(_busy(scrape))}) and no token was made for {STALL_S:.0f} s",
                    stage="serving",
                )
            )

    def _fail(self, error: ServerError) -> None:
        self.failure = error
        self.stop.set()

    def mean_in_flight(self) -> float | None:
        """Return the mean of requests inside the server; None of too few samples to tell."""
        inside: dict[float, float] = defaultdict(float)
        for row in self.server.rows:
            at_s, running, waiting = (row[name] for name in ("t_s", "running", "waiting"))
            if not isinstance(at_s, float) or not isinstance(running, float):
                return None
            inside[at_s] += running + (waiting if isinstance(waiting, float) else 0.0)
        return fmean(inside.values()) if len(inside) >= FEWEST_SAMPLES else None

    def write(self, folder: Path) -> None:
        """Write what was seen; what was not there has no file."""
        for name in ("server", "host", "gpu"):
            samples: Samples = getattr(self, name)
            samples.write(folder / f"{name}.parquet")


def queued(scrape: Scrape) -> float:
    """Return how many requests are inside the server, running or waiting."""
    return sum(scrape.total(GAUGES[name]) or 0.0 for name in ("running", "waiting"))


def _busy(scrape: Scrape) -> list[str]:
    return [r for r in sorted(_ranks(scrape)) if _of_rank(scrape, GAUGES["running"], r)]


def _ranks(scrape: Scrape) -> set[str]:
    samples = scrape.samples(GAUGES["running"])
    return {labels.get("engine", "0") for labels, _ in samples}


def _of_rank(scrape: Scrape, metric: str, rank: str) -> float | None:
    found = [v for labels, v in scrape.samples(metric) if labels.get("engine", "0") == rank]
    return sum(found) if found else None


def _usage(tree: Sequence[psutil.Process]) -> dict[str, float]:
    resident_bytes, cpu_s = 0, 0.0
    for process in tree:
        with contextlib.suppress(psutil.Error):
            resident_bytes += process.memory_info().rss
            times = process.cpu_times()
            cpu_s += times.user + times.system
    return {"resident_bytes": resident_bytes, "cpu_s": cpu_s}
