"""The agent on a node: runs one server group's part beside the server and tells the driver.

It is the body of a Ray actor. The engine and the load generator live in a thread with an event
loop of their own, so that Ray's calls do not stand in the way of a measurement.
"""

import asyncio
import contextlib
import os
import queue
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from catalog.errors import MoeserveError, ServerError, ServerStartFailed
from orchestrator.cells import Run
from orchestrator.cluster.headless import serve_part
from orchestrator.cluster.wire import (
    Closed,
    Done,
    Failed,
    Job,
    LogTold,
    ProgressTold,
    Ready,
    RowTold,
    StageTold,
    Told,
    failed_from,
)
from orchestrator.devices import devices
from orchestrator.engines.base import Session, Site, Stopped, Watch
from orchestrator.engines.registry import engine
from orchestrator.environment import describe
from orchestrator.ports import port_range
from orchestrator.scratch import scratch

PREFIX = "moeserve-agent-"
PERIOD_S = 1.0
"""How long news wait at most: fewer answers, less work beside a measurement."""
LOG_PIECE_BYTES = 1_000_000
URGENT = (Ready, Done, Failed, Closed)


class Agent:
    """One node's part of a server group; every method is a remote call."""

    def __init__(self) -> None:
        self._news: queue.SimpleQueue[Told] = queue.SimpleQueue()
        self._urgent = threading.Event()
        self._held = contextlib.ExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._orders: asyncio.Queue[Run | None] = asyncio.Queue()
        self._stop = asyncio.Event()
        self._main: asyncio.Task[None] | None = None
        self._log: Path | None = None
        self._log_read, self._log_lock = 0, threading.Lock()

    def look(self, client: bool) -> dict[str, Any]:
        """Describe this node and, where one will be used, what the client is capable of on it."""
        described = describe()
        if client:
            from workloads.calibration import calibrate

            described["client"] = msgspec.to_builtins(asyncio.run(calibrate()))
        return described

    def meet(self) -> int:
        """Hold a port of this node, where the parts of a server find each other."""
        return self._held.enter_context(port_range()).start

    def open(self, job: Job) -> tuple[str, ...]:
        """Start the server and return its GPUs at once; `told` says how it goes."""
        import uvloop

        gpus = granted_gpus() if job.use_gpus else ()
        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._loop = runner.get_loop()
        threading.Thread(target=self._thread, args=(runner, job, gpus), daemon=True).start()
        return gpus

    def told(self) -> list[Told]:
        """Return what is new, at once if it is important, else after a moment."""
        self._urgent.wait(PERIOD_S)
        self._urgent.clear()
        news: list[Told] = self._log_piece()
        with contextlib.suppress(queue.Empty):
            while True:
                news.append(self._news.get_nowait())
        return news

    def measure(self, run: Run) -> None:
        """Load the server with a run; `told` brings its rows and how it ended."""
        self._later(lambda: self._orders.put_nowait(run))

    def halt(self) -> None:
        """Let the run in flight, or a start, end early."""
        self._later(self._stop.set)

    def close(self) -> None:
        """Take the server down; `told` says when it is."""
        if self._loop is None:
            self._tell(Closed())
        self._later(self._end)

    def _later(self, call: Callable[[], object]) -> None:
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: there is nothing to say
                loop.call_soon_threadsafe(call)

    def _end(self) -> None:
        self._stop.set()
        self._orders.put_nowait(None)

    def _tell(self, news: Told) -> None:
        self._news.put(news)
        if isinstance(news, URGENT):
            self._urgent.set()

    def _thread(self, runner: asyncio.Runner, job: Job, gpus: tuple[str, ...]) -> None:
        try:
            with runner:
                runner.run(self._run(job, gpus))
        except Exception as error:  # noqa: BLE001 (the driver decides what any error means)
            self._tell(failed_from(error))
        self._tell(Closed())

    async def _run(self, job: Job, gpus: tuple[str, ...]) -> None:
        with scratch(tempfile.gettempdir(), PREFIX) as folder:
            self._log = folder / "server.log"
            watch = Watch(on_stage=lambda text: self._tell(StageTold(text)), stop=self._stop)
            site = Site(
                experiment=job.experiment,
                model=job.model,
                folder=folder,
                gpus=gpus or None,
                stop_grace_s=job.stop_grace_s,
                detached=True,
                host=job.host,
                args=job.args,
            )
            with contextlib.suppress(Stopped):
                try:
                    await self._serve(job, site, watch)
                finally:
                    for piece in self._log_piece():
                        self._news.put(piece)
                    self._log = None

    async def _serve(self, job: Job, site: Site, watch: Watch) -> None:
        if job.headless:
            part = Ready("measured", "", {})
            await serve_part(job, site, watch, lambda: self._tell(part))
            return
        check_gpus(job)
        async with engine(job.engine).open(job.group, site, watch) as session:
            self._tell(Ready(session.provenance, session.gpu_type, dict(session.details)))
            while (run := await self._orders.get()) is not None:
                await self._measure(run, session, site.folder, watch)

    async def _measure(self, run: Run, session: Session, folder: Path, watch: Watch) -> None:
        own = Path(tempfile.mkdtemp(prefix="run-", dir=folder))
        watch = replace(
            watch,
            on_row=lambda row: self._tell(RowTold(row)),
            on_progress=lambda progress: self._tell(ProgressTold(progress)),
            folder=own,
        )
        try:
            measurement = await session.measure(run, watch)
            self._tell(Done(measurement, _contents(own)))
        except ServerError:
            raise
        except MoeserveError as error:
            self._tell(failed_from(error, ends_server=False))
        finally:
            shutil.rmtree(own, ignore_errors=True)

    def _log_piece(self) -> list[Told]:
        path = self._log
        if path is None:
            return []
        with contextlib.suppress(OSError), self._log_lock, path.open("rb") as file:
            file.seek(self._log_read)
            text = file.read(LOG_PIECE_BYTES)
            self._log_read += len(text)
            return [LogTold(text)] if text else []
        return []


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def granted_gpus() -> tuple[str, ...]:
    """Return the GPUs that Ray gave this worker: NVML's numbers, where there is NVML."""
    found = devices()
    if found:
        return tuple(str(device.index) for device in found)
    listed = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return tuple(sorted((word for word in listed if word), key=lambda word: (len(word), word)))


def check_gpus(job: Job) -> None:
    """Refuse a node whose GPUs are not the ones that were asked for: Ray's names are coarse."""
    asked, found = job.group.setup.hardware, devices()
    if job.use_gpus and found and found[0].gpu_type != asked:
        raise ServerStartFailed(
            f"GPU_TYPE: asked for {asked}, this node has {found[0].gpu_type}", stage="launch"
        )
