"""A server and its load generator in an event loop of their own, told what to do by an agent."""

import asyncio
import contextlib
import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import uvloop

from catalog.errors import MoeserveError, ServerError, ServerStartFailed
from orchestrator.cells import Run
from orchestrator.cluster.client import remote_client
from orchestrator.cluster.headless import serve_part
from orchestrator.cluster.news import News
from orchestrator.cluster.wire import (
    Closed,
    Done,
    Job,
    ProgressTold,
    Ready,
    RowTold,
    StageTold,
    failed_from,
)
from orchestrator.devices import devices
from orchestrator.engines.base import Session, Site, Stopped, Watch
from orchestrator.engines.registry import engine
from orchestrator.scratch import scratch

PREFIX = "moeserve-agent-"
LOOK_S = 1.0


class Serving:
    """One job in a thread; its methods may be called from any other."""

    def __init__(self, job: Job, gpus: tuple[str, ...], news: News) -> None:
        self._job, self._gpus, self._news = job, gpus, news
        self._orders: asyncio.Queue[Run | None] = asyncio.Queue()
        self._stop = asyncio.Event()
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._loop = self._runner.get_loop()
        threading.Thread(target=self._work, daemon=True).start()

    def measure(self, run: Run) -> None:
        self._later(lambda: self._orders.put_nowait(run))

    def halt(self) -> None:
        """Let the run in flight, or the start, end early."""
        self._later(self._stop.set)

    def close(self) -> None:
        """Take the server down once the run in flight has ended, which it does early."""
        self.halt()
        self._later(lambda: self._orders.put_nowait(None))

    def _later(self, call: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: there is nothing to say
            self._loop.call_soon_threadsafe(call)

    def _work(self) -> None:
        try:
            with self._runner as runner:
                runner.run(self._run())
        except Exception as error:  # noqa: BLE001 (the driver decides what any error means)
            self._news.tell(failed_from(error))
        self._news.tell(Closed())

    async def _run(self) -> None:
        job, tell = self._job, self._news.tell
        with scratch(tempfile.gettempdir(), PREFIX) as folder:
            self._news.follow(folder / "server.log")
            watch = Watch(on_stage=lambda text: tell(StageTold(text)), stop=self._stop)
            site = Site(
                experiment=job.experiment,
                model=job.model,
                folder=folder,
                gpus=self._gpus or None,
                stop_grace_s=job.stop_grace_s,
                detached=True,
                host=job.host,
                args=job.args,
                api_key=job.api_key,
            )
            try:
                with contextlib.suppress(Stopped):
                    await self._serve(site, watch)
            finally:
                self._news.read_log()

    async def _serve(self, site: Site, watch: Watch) -> None:
        job, tell = self._job, self._news.tell
        if job.headless:
            await serve_part(job, site, watch, lambda: tell(Ready("measured", "", {})))
            return
        check_gpus(job)
        async with _opened(job, site, watch) as session:
            target = getattr(session, "target", None)
            tell(Ready(session.provenance, session.gpu_type, dict(session.details), target))
            while (run := await self._next(session)) is not None:
                await self._measure(run, session, site.folder, watch)

    async def _next(self, session: Session) -> Run | None:
        """Wait for an order; a server that ends meanwhile, or is loaded from elsewhere, is told."""
        alive: Callable[[], None] = getattr(session, "alive", lambda: None)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    return await self._orders.get()
            alive()

    async def _measure(self, run: Run, session: Session, folder: Path, watch: Watch) -> None:
        tell = self._news.tell
        own = Path(tempfile.mkdtemp(prefix="run-", dir=folder))
        watch = replace(
            watch,
            on_row=lambda row: tell(RowTold(row)),
            on_progress=lambda progress: tell(ProgressTold(progress)),
            folder=own,
        )
        try:
            measurement = await session.measure(run, watch)
            tell(Done(measurement, _contents(own)))
        except ServerError:
            raise
        except MoeserveError as error:
            tell(failed_from(error, ends_server=False))
        finally:
            shutil.rmtree(own, ignore_errors=True)


def _opened(job: Job, site: Site, watch: Watch) -> AbstractAsyncContextManager[Session]:
    if job.target is not None:
        return remote_client(
            job.target,
            job.experiment,
            vocab=job.model.vocab,
            gpu_type=job.group.setup.hardware,
        )
    return engine(job.engine).open(job.group, site, watch)


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def check_gpus(job: Job) -> None:
    """Refuse a node whose GPUs are not the ones that were asked for: Ray's names are coarse."""
    asked, found = job.group.setup.hardware, devices()
    if job.use_gpus and found and found[0].gpu_type != asked:
        raise ServerStartFailed(
            f"GPU_TYPE: asked for {asked}, this node has {found[0].gpu_type}", stage="launch"
        )
