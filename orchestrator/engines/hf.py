"""Servers on one device: started, proved ready and ended alike, whatever decodes."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import msgspec

from catalog.errors import ServerStartFailed
from orchestrator.devices import devices
from orchestrator.engines.base import Site, Watch
from orchestrator.engines.control import Control
from orchestrator.engines.http_session import HttpSession
from orchestrator.engines.readiness import death, prove_ready, wait_until_listening
from orchestrator.plan import ServerGroup
from orchestrator.ports import port_range
from orchestrator.process import ServerProcess
from workloads.target import Target


@dataclass(frozen=True, slots=True)
class HfServer:
    """One server to be: its group, where it runs, and its command for a port and a name."""

    group: ServerGroup
    site: Site
    command: Callable[[int, str], list[str]]
    return_token_ids: bool = False
    """Several tokens may become final at once, so that an event must say which it carries."""
    control: Callable[[str], Control] = Control
    """How the server at a base URL is asked; what it lists carries its account as `details`."""

    @contextlib.asynccontextmanager
    async def serving(self, watch: Watch) -> AsyncIterator[HttpSession]:
        """Start it, prove it ready, and take it down again; its own account is in the details."""
        with port_range() as ports:
            served_name = f"moeserve-{secrets.token_hex(6)}"
            process = self._start(ports.start, served_name)
            try:
                async with self.control(f"http://127.0.0.1:{ports.start}") as control:
                    yield await self._ready(process, control, served_name, watch)
            finally:
                watch.on_stage("stopping the server")
                await process.stop()

    def _start(self, port: int, served_name: str) -> ServerProcess:
        try:
            return ServerProcess(
                self.command(port, served_name),
                log=self.site.folder / "server.log",
                env=environment(self.group, self.site),
                grace_s=self.site.stop_grace_s,
            )
        except OSError as error:
            raise ServerStartFailed(f"SERVER_MISSING: {error}", stage="launch") from error

    async def _ready(
        self, process: ServerProcess, control: Control, served_name: str, watch: Watch
    ) -> HttpSession:
        experiment = self.site.experiment
        await wait_until_listening(
            process,
            control,
            served_name=served_name,
            limit_s=experiment.server.start_timeout_s,
            watch=watch,
        )
        target = Target(base_url=control.base_url, model=served_name)
        target = replace(target, return_token_ids=self.return_token_ids)
        watch.on_stage("proving the server ready")
        await prove_ready(target, control, ranks=1, vocab=self.site.model.vocab)

        def alive() -> None:
            if process.exit_code is not None:
                raise death(process)

        account = (await control.models())[0].get("details")
        said = msgspec.convert(account, dict[str, str | int | float])
        found = devices()
        return HttpSession(
            target=target,
            control=control,
            vocab=self.site.model.vocab,
            provenance="measured",
            gpu_type=found[0].gpu_type if found and said["device"] != "cpu" else "CPU",
            details={"command": list(process.command), "version": await control.version(), **said},
            num_warmups=experiment.num_warmups,
            client_workers=experiment.client_workers,
            alive=alive,
            pid=process.pid,
            gpus=tuple(int(index) for index in (self.site.gpus or ())[:1]),
        )


def environment(group: ServerGroup, site: Site) -> dict[str, str]:
    """Return the variables of one server start, the user's last: one GPU, or none."""
    gpu = {"CUDA_VISIBLE_DEVICES": site.gpus[0]} if site.gpus else {}
    return {"HF_HUB_DISABLE_PROGRESS_BARS": "1", **gpu, **dict(group.setup.server_env)}
