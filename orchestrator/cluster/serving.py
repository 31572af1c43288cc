"""A server and its load generator in a thread and event loop of their own, driven by an agent."""

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
from catalog.hardware_table import named_within
from orchestrator.cluster.client import remote_client
from orchestrator.cluster.event_stream import EventLog
from orchestrator.cluster.headless import serve_headless
from orchestrator.cluster.messages import (
    LaunchRequest,
    LoadProgressed,
    RowReceived,
    RunCompleted,
    ServerClosed,
    ServerReady,
    StageChanged,
    encode_error,
)
from orchestrator.engine import Callbacks, LaunchContext, Session, Stopped
from orchestrator.engines.registry import engine_kind
from orchestrator.experiment.cells import Run
from orchestrator.host.devices import devices
from orchestrator.host.scratch import scratch
from orchestrator.measure.http_session import HttpBacked, HttpSession

PREFIX = "moeserve-agent-"
POLL_S = 1.0


class ServerThread:
    """One launch request in a thread; its methods may be called from any other thread."""

    def __init__(self, request: LaunchRequest, gpus: tuple[str, ...], events: EventLog) -> None:
        self._request, self._gpus, self._events = request, gpus, events
        self._runs: asyncio.Queue[Run | None] = asyncio.Queue()
        self._stopping = asyncio.Event()
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._loop = self._runner.get_loop()
        threading.Thread(target=self._thread_main, daemon=True).start()

    def measure(self, run: Run) -> None:
        self._call_soon(lambda: self._runs.put_nowait(run))

    def stop(self) -> None:
        """Stop the run in flight, or the start, early."""
        self._call_soon(self._stopping.set)

    def close(self) -> None:
        """Stop the server once the run in flight has ended, which it does early."""
        self.stop()
        self._call_soon(lambda: self._runs.put_nowait(None))

    def _call_soon(self, call: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: there is nothing to stop
            self._loop.call_soon_threadsafe(call)

    def _thread_main(self) -> None:
        try:
            with self._runner as runner:
                runner.run(self._main())
        except Exception as error:  # noqa: BLE001 (the driver decides what any error means)
            self._events.append(encode_error(error))
        self._events.append(ServerClosed())

    async def _main(self) -> None:
        request, report = self._request, self._events.append
        with scratch(tempfile.gettempdir(), PREFIX) as folder:
            self._events.follow_log(folder / "server.log")
            callbacks = Callbacks(
                on_stage=lambda text: report(StageChanged(text)), stop=self._stopping
            )
            context = LaunchContext(
                experiment=request.experiment,
                model=request.model,
                folder=folder,
                gpus=self._gpus or None,
                stop_grace_s=request.stop_grace_s,
                detached=True,
                host=request.host,
                args=request.args,
                api_key=request.api_key,
            )
            try:
                with contextlib.suppress(Stopped):
                    await self._serve(context, callbacks)
            finally:
                self._events.read_log()

    async def _serve(self, context: LaunchContext, callbacks: Callbacks) -> None:
        request, report = self._request, self._events.append
        if request.headless:
            await serve_headless(
                request, context, callbacks, lambda: report(ServerReady("measured", "", {}))
            )
            return
        check_gpus(request)
        async with _open_session(request, context, callbacks) as session:
            # A session that wraps another must be measured where it is.
            target = session.target if isinstance(session, HttpSession) else None
            report(ServerReady(session.provenance, session.gpu_type, dict(session.details), target))
            while (run := await self._next_run(session)) is not None:
                await self._measure(run, session, context.folder, callbacks)

    async def _next_run(self, session: Session) -> Run | None:
        """Wait for the next run; raise if the server ends meanwhile."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    return await self._runs.get()
            if isinstance(session, HttpBacked):
                session.http.alive()

    async def _measure(
        self, run: Run, session: Session, parent: Path, callbacks: Callbacks
    ) -> None:
        report = self._events.append
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=parent))
        callbacks = replace(
            callbacks,
            on_row=lambda row: report(RowReceived(row)),
            on_progress=lambda progress: report(LoadProgressed(progress)),
            folder=folder,
        )
        try:
            measurement = await session.measure(run, callbacks)
            report(RunCompleted(measurement, _read_files(folder)))
        except ServerError:
            raise
        except MoeserveError as error:
            report(encode_error(error))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _open_session(
    request: LaunchRequest, context: LaunchContext, callbacks: Callbacks
) -> AbstractAsyncContextManager[Session]:
    if request.target is not None:
        return remote_client(
            request.target,
            request.experiment,
            vocab=request.model.vocab,
            gpu_type=request.group.setup.hardware,
        )
    return engine_kind(request.engine).build().open(request.group, context, callbacks)


def _read_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def check_gpus(request: LaunchRequest) -> None:
    """Refuse a node without the GPU type requested: Ray's accelerator types are coarse."""
    setup, found = request.group.setup, devices()
    if not request.use_gpus or not found:
        return
    here = found[0].known_as(setup.own_gpus)
    if here != setup.hardware and not (setup.gpu is None and named_within(setup.hardware, here)):
        raise ServerStartFailed(
            f"GPU_TYPE: asked for {setup.hardware}, this node has {here}", stage="launch"
        )
