"""Servers on one device: started, proved ready and ended alike, whatever decodes."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import msgspec

from catalog.errors import ServerStartFailed
from orchestrator.engine import Callbacks, LaunchContext
from orchestrator.engines.gpus import gpu_environment, gpu_type, sampled_gpus
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.host.ports import port_range
from orchestrator.host.process import ServerProcess
from orchestrator.measure.control import Control, provenance_of
from orchestrator.measure.http_session import HttpSession
from orchestrator.measure.readiness import prove_own_ready, server_died, wait_until_listening
from workloads.transport.target import Target


@dataclass(frozen=True, slots=True)
class OneDeviceServer:
    """One server to be: its group, where it runs, and its command for a port and a name."""

    group: ServerGroup
    context: LaunchContext
    command: Callable[[int, str], list[str]]
    return_token_ids: bool = False
    """Several tokens may become final at once, so that an event must say which it carries."""
    control: Callable[[str], Control] = Control
    """How the server at a base URL is asked; what it lists carries its account as `details`."""

    @contextlib.asynccontextmanager
    async def serving(self, callbacks: Callbacks) -> AsyncIterator[HttpSession]:
        """Start it, prove it ready, and take it down again; its own account is in the details."""
        with port_range() as ports:
            served_name = f"moeserve-{secrets.token_hex(6)}"
            process = self._start(ports.start, served_name)
            try:
                async with self.control(f"http://127.0.0.1:{ports.start}") as control:
                    yield await self._ready(process, control, served_name, callbacks)
            finally:
                callbacks.on_stage("stopping the server")
                await process.stop()

    def _start(self, port: int, served_name: str) -> ServerProcess:
        try:
            return ServerProcess(
                self.command(port, served_name),
                log=self.context.folder / "server.log",
                env=environment(self.group, self.context),
                grace_s=self.context.stop_grace_s,
            )
        except OSError as error:
            raise ServerStartFailed(f"SERVER_MISSING: {error}", stage="launch") from error

    async def _ready(
        self, process: ServerProcess, control: Control, served_name: str, callbacks: Callbacks
    ) -> HttpSession:
        experiment = self.context.experiment
        await wait_until_listening(
            process,
            control,
            served_name=served_name,
            limit_s=experiment.server.start_timeout_s,
            callbacks=callbacks,
        )
        target = Target(base_url=control.base_url, model=served_name)
        target = replace(target, return_token_ids=self.return_token_ids)
        callbacks.on_stage("proving the server ready")
        await prove_own_ready(process, target, control, ranks=1, vocab=self.context.model.vocab)

        def alive() -> None:
            if process.exit_code is not None:
                raise server_died(process)

        account = (await control.models())[0].get("details")
        said = msgspec.convert(account or {}, dict[str, str | int | float])
        on_cpu = said.get("device") == "cpu"
        return HttpSession(
            target=target,
            control=control,
            vocab=self.context.model.vocab,
            provenance=await provenance_of(control),
            gpu_type="CPU" if on_cpu else gpu_type(self.context, self.group),
            details={"command": list(process.command), "version": await control.version(), **said},
            num_warmups=experiment.num_warmups,
            client_workers=experiment.client_workers,
            alive=alive,
            pid=process.pid,
            gpus=sampled_gpus(self.context, self.group),
        )


def environment(group: ServerGroup, context: LaunchContext) -> dict[str, str]:
    """Return the variables of one server start, the user's last: one GPU, or none."""
    gpu = gpu_environment(context, group)
    return {"HF_HUB_DISABLE_PROGRESS_BARS": "1", **gpu, **dict(group.setup.server_env)}
