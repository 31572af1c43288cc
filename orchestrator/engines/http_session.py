"""Measuring a server over HTTP: warm it up, load it, and keep what it says of the same window."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from catalog.errors import ServerDied, ServerError, ServerStartFailed
from catalog.units import MS_PER_S
from orchestrator.cells import Run
from orchestrator.energy import energy_figures
from orchestrator.engines.base import Figure, Measurement, Watch
from orchestrator.engines.control import Control
from orchestrator.engines.readiness import probe
from orchestrator.engines.traffic import Traffic, traffic_of
from orchestrator.footprint import footprint_figures
from orchestrator.record import Provenance
from orchestrator.sidecar import Sidecar, queued
from workloads.client import measure
from workloads.dispatch import Dispatcher
from workloads.prompts import token_prompts
from workloads.runstats import RunStats
from workloads.selfcheck import client_limited
from workloads.server_metrics import parse_metrics, window
from workloads.target import Target
from workloads.transcript import RequestRow
from workloads.workers import Plan as WorkersPlan
from workloads.workers import measure_with_workers

WARMUP_OUTPUT = 16
"""Tokens a warm-up request asks for at most: enough to reach the decode path at full batch."""
DEATH_S = 10.0
"""How long a server that failed requests may take to answer one again."""
SUSPECT = frozenset({"CONNECT", "CONNECTION_LOST", "STREAM_TRUNCATED", "STREAM_ERROR", "HTTP_5XX"})
"""Error classes of requests whose server may have died; its HTTP side lives on for a while."""
ABORT_S = 30.0
SETTLE_S = 0.2
"""A server may count the last tokens a moment after it has sent them."""


@contextlib.asynccontextmanager
async def relayed(first: asyncio.Event, second: asyncio.Event) -> AsyncIterator[None]:
    """Set the second event whenever the first one is."""

    async def relay() -> None:
        await first.wait()
        second.set()

    task = asyncio.create_task(relay())
    try:
        yield
    finally:
        task.cancel()


def server_tokens(figures: Mapping[str, Figure]) -> float | None:
    counted = figures.get("server_generation_tokens")
    return counted if isinstance(counted, float) else None


def client_figures(stats: RunStats) -> dict[str, Figure]:
    """Columns that say how well the client did its part."""
    return {
        "client_cpu_share": stats.cpu_share,
        "client_busy_share": stats.busy_share,
        "client_cpu_us_per_event": stats.cpu_us_per_event,
        "client_p99_loop_lag_ms": stats.p99_loop_lag_s * MS_PER_S,
        "client_max_loop_lag_ms": stats.max_loop_lag_s * MS_PER_S,
        "client_coalesced_reads": stats.coalesced_reads,
        "client_reconnects": stats.reconnects,
        "client_reader": "compiled" if stats.compiled_reader else "python",
    }


@dataclass(frozen=True, slots=True)
class HttpSession:
    """A server that is ready at `target`; `alive` raises once it is not."""

    target: Target
    control: Control
    vocab: int
    provenance: Provenance
    gpu_type: str
    details: Mapping[str, Any]
    num_warmups: int | None = None
    client_workers: int = 1
    alive: Callable[[], None] = field(default=lambda: None)
    pid: int | None = None
    """The supervisor of a server of ours."""
    gpus: tuple[int, ...] = ()

    async def measure(self, run: Run, watch: Watch) -> Measurement:
        self.alive()
        watch.on_stage("warming up")
        await self._warm_up(run, watch)
        before = await self.control.metrics()
        watch.on_stage("measuring")
        traffic = traffic_of(run, vocab=self.vocab)
        halt = asyncio.Event()
        broken: set[str] = set()

        def on_row(row: RequestRow) -> None:
            if row.status != "ok":
                broken.add(row.error_class)
            watch.on_row(row)

        sidecar = Sidecar(self.control, halt, self.alive, pid=self.pid, gpus=self.gpus)
        async with sidecar.watching(), relayed(watch.stop, halt):
            loaded = replace(watch, stop=halt, on_row=on_row)
            stats = await self._load(traffic, run.cell.workload.output_len, loaded)
        if watch.folder is not None:
            sidecar.write(watch.folder)
        if sidecar.failure is not None:
            raise sidecar.failure
        await self._settle(broken, stopped=watch.stop.is_set())
        after = await self.control.metrics()
        reason = client_limited(stats)
        reasons = [reason] if reason else []
        figures = client_figures(stats)
        if before and after:
            server = window(parse_metrics(before), parse_metrics(after))
            if server.restarted:
                reasons.append("SERVER_RESTARTED: its counters went backwards during the run")
            figures |= server.figures()
        figures["server_in_flight"] = sidecar.mean_in_flight()
        figures |= energy_figures(sidecar.gpu, int(server_tokens(figures) or 0))
        figures |= footprint_figures(sidecar.host, self.details, before, after)
        return Measurement(figures=figures, reasons=tuple(reasons))

    async def _settle(self, broken: Set[str], *, stopped: bool) -> None:
        """Let the server count its last tokens, and after failures see that it still serves."""
        await asyncio.sleep(SETTLE_S)
        self.alive()
        if broken & SUSPECT and not stopped:
            await self._answers_again()
        if broken and self.pid is not None and not stopped:
            await self._abandoned()

    async def _answers_again(self) -> None:
        """Wait for a real completion: only that tells a dead engine from a few failed requests.

        Raises ServerDied when none comes.
        """
        deadline = time.monotonic() + DEATH_S
        rng = np.random.default_rng()
        while time.monotonic() < deadline:
            with contextlib.suppress(ServerStartFailed):
                await probe(self.target, rng, count=1, vocab=self.vocab)
                return
            self.alive()
            await asyncio.sleep(SETTLE_S)
        raise ServerDied(
            f"ENGINE_DEAD: requests of the run failed, and for {DEATH_S:.0f} s every other one",
            stage="serving",
        )

    async def _abandoned(self) -> None:
        """Wait until the server has dropped requests that ended early: the next run is not theirs.

        Raises ServerError `ABORT_LEAK` when it still works on them after half a minute.
        """
        deadline = time.monotonic() + ABORT_S
        while (text := await self.control.metrics()) and (left := queued(parse_metrics(text))):
            if time.monotonic() > deadline:
                raise ServerError(
                    f"ABORT_LEAK: {left:.0f} requests whose connections are closed are still in "
                    f"the server after {ABORT_S:.0f} s",
                    stage="serving",
                )
            await asyncio.sleep(SETTLE_S)

    async def _load(self, traffic: Traffic, output_len: int, watch: Watch) -> RunStats:
        if self.client_workers == 1:
            return await measure(
                self.target,
                traffic.prompts,
                output_len=output_len,
                dispatcher=traffic.dispatcher(),
                on_row=watch.on_row,
                on_progress=watch.on_progress,
                stop=watch.stop,
            )
        plan = WorkersPlan(
            output_len=output_len,
            workers=self.client_workers,
            max_concurrency=traffic.max_concurrency,
            due_s=None if traffic.due_s is None else traffic.due_s.tolist(),
        )
        return await measure_with_workers(
            self.target,
            traffic.prompts,
            plan=plan,
            on_row=watch.on_row,
            on_progress=watch.on_progress,
            stop=watch.stop,
        )

    async def _warm_up(self, run: Run, watch: Watch) -> None:
        """One wave at the cell's own concurrency, on prompts that the run does not use."""
        level = run.cell.load.max_concurrency or 1
        count = min(level, run.cell.num_prompts) if self.num_warmups is None else self.num_warmups
        if not count:
            return
        rng = np.random.default_rng([run.cell.seed, run.replicate, 1])
        await measure(
            self.target,
            token_prompts(rng, count=count, length=run.cell.workload.input_len, vocab=self.vocab),
            output_len=min(run.cell.workload.output_len, WARMUP_OUTPUT),
            dispatcher=Dispatcher(count, max_concurrency=level, due_s=None),
            on_row=lambda _: None,
            stop=watch.stop,
        )
