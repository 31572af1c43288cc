"""Measuring a server over HTTP: warm it up, load it, and keep what it says of the same window."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from catalog.errors import ServerDied, ServerError, ServerStartFailed
from orchestrator.engine import Callbacks, Figure, Measurement
from orchestrator.experiment.cells import Run
from orchestrator.measure.choices import choice_figures
from orchestrator.measure.client_figures import client_figures
from orchestrator.measure.control import Control
from orchestrator.measure.energy import energy_figures
from orchestrator.measure.foreign import Foreign
from orchestrator.measure.load import send
from orchestrator.measure.memory_figures import memory_figures
from orchestrator.measure.monitor import PATIENCE, STALL_S, ServerMonitor, queued
from orchestrator.measure.readiness import probe
from orchestrator.measure.tokenize import tokenised
from orchestrator.measure.traffic import shared_figures, traffic_of
from orchestrator.results.record import Provenance
from workloads.client.load_run import measure
from workloads.client.selfcheck import client_limited
from workloads.figures.server_metrics import parse_metrics, window
from workloads.load.dispatch import Dispatcher
from workloads.load.text_prompts import TextPrompts, prompts_for
from workloads.load.traffic import Traffic
from workloads.transcript import RequestRow
from workloads.transport.target import Target

WARMUP_OUTPUT = 16
"""Tokens a warm-up request asks for at most: enough to reach the decode path at full batch."""
WARMUP_INPUT = 64
"""Tokens of a warm-up prompt where those of the workload are not known."""
ENGINE_TIMEOUT_S = 10.0
"""How long a server that failed requests may take to answer one again."""
SUSPECT_ERRORS = frozenset(
    {"CONNECT", "CONNECTION_LOST", "STREAM_TRUNCATED", "STREAM_ERROR", "HTTP_5XX"}
)
"""Error classes of requests whose server may have died; its HTTP side lives on for a while."""
ABORT_TIMEOUT_S = 30.0
SETTLE_S = 0.2
"""A server may count the last tokens a moment after it has sent them."""


@contextlib.asynccontextmanager
async def propagated(first: asyncio.Event, second: asyncio.Event) -> AsyncIterator[None]:
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
    notes: tuple[str, ...] = ()
    """What its start found that a reader of its runs should know, each `CODE: …`."""
    foreign: Foreign | None = None
    """Of a server that moeserve did not start."""

    @property
    def http(self) -> Self:
        return self

    async def measure(self, run: Run, callbacks: Callbacks) -> Measurement:
        self.alive()
        callbacks.on_stage("warming up")
        warm_s = await self._warm_up(run, callbacks)
        before = await self.control.metrics()
        callbacks.on_stage("measuring")
        traffic = await tokenised(
            self.traffic(run), self.control, self.target, takes_ids=self._texts is None
        )
        halt = asyncio.Event()
        failed_classes: set[str] = set()

        def on_row(row: RequestRow) -> None:
            if row.status != "ok":
                failed_classes.add(row.error_class)
            elif self.foreign is not None:
                self.foreign.heard(row.answered_by)
            callbacks.on_row(traffic.labelled(row))

        monitor = ServerMonitor(
            self.control,
            halt,
            self.alive,
            pid=self.pid,
            gpus=self.gpus,
            stall_s=self._stall_s(warm_s),
        )
        async with monitor.sampling(), propagated(callbacks.stop, halt):
            loaded = replace(callbacks, stop=halt, on_row=on_row)
            stats = await send(self.target, traffic, workers=self.client_workers, callbacks=loaded)
        if callbacks.folder is not None:
            monitor.write(callbacks.folder)
        if monitor.failure is not None:
            raise monitor.failure
        await self._settle(failed_classes, stopped=callbacks.stop.is_set())
        after = await self.control.metrics()
        reason = client_limited(stats)
        reasons = [*self.notes, reason] if reason else [*self.notes]
        figures = client_figures(stats) | shared_figures(traffic)
        if self.foreign is not None:
            shared = await self.foreign.shared_metrics()
            reasons += [*self.foreign.notes, *shared]
            figures |= self.foreign.figures()
            if shared:
                return Measurement(figures=figures, reasons=tuple(reasons))
        restarted, told = self._told_by_server(monitor, before, after)
        return Measurement(figures=figures | told, reasons=(*reasons, *restarted))

    def _told_by_server(
        self, monitor: ServerMonitor, before: str | None, after: str | None
    ) -> tuple[tuple[str, ...], dict[str, Figure]]:
        """Return the reason for a server that started again, and the server's own figures."""
        reasons: tuple[str, ...] = ()
        figures: dict[str, Figure] = {}
        then, now = (parse_metrics(text or "") for text in (before, after))
        if then.values and now.values:
            server = window(then, now)
            if server.restarted:
                reasons = (
                    "SERVER_RESTARTED: its counters went backwards during the run, or are another "
                    "process's",
                )
            else:
                figures |= server.figures()
        elif then.values or now.values or self.foreign is not None:
            reasons = self._counters_lost("after" if then.values else "before")
        figures["server_in_flight"] = monitor.mean_in_flight()
        figures |= energy_figures(monitor.gpu, int(server_tokens(figures) or 0))
        figures |= memory_figures(monitor.host, self.details, before, after)
        figures |= choice_figures(self.details)
        return reasons, figures

    def _counters_lost(self, when: str) -> tuple[str, ...]:
        """Say that counters which were there when the server was opened could not be read."""
        if self.control.metrics_url is None:
            return ()
        why = f" ({self.control.metrics_trouble})" if self.control.metrics_trouble else ""
        return (
            f"SERVER_UNSEEN: its counters could not be read {when} the run{why}; nothing that they "
            "show was checked",
        )

    def traffic(self, run: Run) -> Traffic:
        salt = self.foreign.salt if self.foreign else 0
        return traffic_of(run, vocab=self.vocab, texts=self._texts, salt=salt)

    @property
    def _texts(self) -> TextPrompts | None:
        return self.foreign.texts if self.foreign else None

    def _stall_s(self, warm_s: float | None) -> float:
        """Return how long no token may come before it is a stall.

        What was asked for; else by the first tokens of the warm-up; else, of a server that somebody
        else started, the client's own limit.
        """
        if self.foreign is not None and self.foreign.stall_timeout_s is not None:
            return self.foreign.stall_timeout_s
        unknown_s = self.target.idle_timeout_s if self.foreign is not None else 0.0
        return max(STALL_S, unknown_s if warm_s is None else PATIENCE * warm_s)

    async def _settle(self, failed_classes: Set[str], *, stopped: bool) -> None:
        """Let the server count its last tokens, and after failures see that it still serves."""
        await asyncio.sleep(SETTLE_S)
        self.alive()
        if failed_classes & SUSPECT_ERRORS and not stopped:
            await self._check_engine_answers()
        if failed_classes and self.pid is not None and not stopped:
            await self._wait_for_aborts()

    async def _check_engine_answers(self) -> None:
        """Wait for a real completion: only that tells a dead engine from a few failed requests.

        Raises ServerDied when none comes.
        """
        deadline = time.monotonic() + ENGINE_TIMEOUT_S
        rng = np.random.default_rng()
        while time.monotonic() < deadline:
            with contextlib.suppress(ServerStartFailed):
                await probe(self.target, rng, count=1, vocab=self.vocab, texts=self._texts)
                return
            self.alive()
            await asyncio.sleep(SETTLE_S)
        raise ServerDied(
            f"ENGINE_DEAD: requests of the run failed, and for {ENGINE_TIMEOUT_S:.0f} s every "
            "other one",
            stage="serving",
        )

    async def _wait_for_aborts(self) -> None:
        """Wait until the server has dropped requests that ended early: the next run is not theirs.

        Raises ServerError `ABORT_LEAK` when it still works on them after half a minute.
        """
        deadline = time.monotonic() + ABORT_TIMEOUT_S
        while (text := await self.control.metrics()) and (left := queued(parse_metrics(text))):
            if time.monotonic() > deadline:
                raise ServerError(
                    f"ABORT_LEAK: {left:.0f} requests whose connections are closed are still in "
                    f"the server after {ABORT_TIMEOUT_S:.0f} s",
                    stage="serving",
                )
            await asyncio.sleep(SETTLE_S)

    async def _warm_up(self, run: Run, callbacks: Callbacks) -> float | None:
        """One wave at the cell's own concurrency, on prompts that the run does not use.

        Returns the longest wait for a first token in it; None where there was none.
        """
        level = run.cell.load.max_concurrency or 1
        count = min(level, run.cell.num_prompts) if self.num_warmups is None else self.num_warmups
        if not count:
            return None
        salt = [self.foreign.salt] if self.foreign else []
        rng = np.random.default_rng([run.cell.seed, run.replicate, 1, *salt])
        length = run.cell.workload.known_input_len or WARMUP_INPUT
        rows: list[RequestRow] = []
        await measure(
            self.target,
            prompts_for(rng, count, length, self.vocab, self._texts),
            output_len=min(run.cell.workload.output_len, WARMUP_OUTPUT),
            dispatcher=Dispatcher(count, max_concurrency=level, due_s=None),
            on_row=rows.append,
            stop=callbacks.stop,
        )
        waits_s = [row.first_token_s - row.due_s for row in rows if row.first_token_s is not None]
        return max(waits_s, default=None)


@runtime_checkable
class HttpBacked(Protocol):
    """A session whose server answers over HTTP: an `HttpSession`, or one that wraps it."""

    @property
    def http(self) -> HttpSession: ...


@dataclass(frozen=True, slots=True)
class WrappedSession:
    """A session that measures through another over HTTP, and says of the server what that says."""

    http: HttpSession

    @property
    def provenance(self) -> Provenance:
        return self.http.provenance

    @property
    def gpu_type(self) -> str:
        return self.http.gpu_type

    @property
    def details(self) -> Mapping[str, Any]:
        return self.http.details
