"""Diffusion language models on transformers, behind the same HTTP as every other engine."""

import contextlib
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from catalog.errors import ServerStartFailed
from orchestrator.cells import Run
from orchestrator.devices import devices
from orchestrator.engines.base import Figure, Measurement, Session, Site, Watch
from orchestrator.engines.command import weights
from orchestrator.engines.control import Control
from orchestrator.engines.http_session import HttpSession
from orchestrator.engines.readiness import death, prove_ready, wait_until_listening
from orchestrator.hfserver.causal import require_transformers
from orchestrator.hfserver.diffusion.seeded import NAMES, checkpoint
from orchestrator.plan import ServerGroup
from orchestrator.ports import port_range
from orchestrator.process import ServerProcess
from orchestrator.record import Provenance
from workloads.target import Target

COLUMNS = ("diffusion_steps", "block_length", "experts_implementation", "kv_cache", "commit_above")
"""Of the server's own account; they stand in the run table."""


class DiffusionEngine:
    """Starts one server of `orchestrator.hfserver` a group, on one GPU or the CPU."""

    def __init__(self) -> None:
        require_transformers()

    @contextlib.asynccontextmanager
    async def open(self, group: ServerGroup, site: Site, watch: Watch) -> AsyncIterator[Session]:
        with port_range() as ports:
            served_name = f"moeserve-{secrets.token_hex(6)}"
            process = _start(group, site, ports.start, served_name)
            try:
                async with Control(f"http://127.0.0.1:{ports.start}") as control:
                    yield await _ready(process, control, served_name, site, watch)
            finally:
                watch.on_stage("stopping the server")
                await process.stop()


@dataclass(frozen=True, slots=True)
class DiffusionSession:
    """A session over HTTP whose runs also say how the answers were decoded."""

    http: HttpSession
    columns: Mapping[str, Figure]

    @property
    def provenance(self) -> Provenance:
        return self.http.provenance

    @property
    def gpu_type(self) -> str:
        return self.http.gpu_type

    @property
    def details(self) -> Mapping[str, Any]:
        return self.http.details

    async def measure(self, run: Run, watch: Watch) -> Measurement:
        measured = await self.http.measure(run, watch)
        return replace(measured, figures={**measured.figures, **self.columns})


def diffusion_command(site: Site, *, port: int, served_name: str) -> list[str]:
    """Return the server's command line; the user's own arguments come last and win."""
    return [
        *(sys.executable, "-m", "orchestrator.hfserver", "diffusion"),
        *("--model", weights_of(site)),
        *("--served-model-name", served_name),
        *("--host", site.host, "--port", str(port)),
        *site.experiment.server.args,
    ]


def diffusion_environment(group: ServerGroup, site: Site) -> dict[str, str]:
    gpu = {"CUDA_VISIBLE_DEVICES": site.gpus[0]} if site.gpus else {}
    return {"HF_HUB_DISABLE_PROGRESS_BARS": "1", **gpu, **dict(group.setup.server_env)}


def weights_of(site: Site) -> str:
    """Return a seeded name, a directory, or a hub id: the one given, else the catalog's."""
    return site.model.name if site.model.name in NAMES else weights(site.experiment, site.model)


def _start(group: ServerGroup, site: Site, port: int, served_name: str) -> ServerProcess:
    if site.model.name in NAMES:
        checkpoint(site.model.name)
    command = diffusion_command(site, port=port, served_name=served_name)
    try:
        return ServerProcess(
            command,
            log=site.folder / "server.log",
            env=diffusion_environment(group, site),
            grace_s=site.stop_grace_s,
        )
    except OSError as error:
        raise ServerStartFailed(f"SERVER_MISSING: {error}", stage="launch") from error


async def _ready(
    process: ServerProcess, control: Control, served_name: str, site: Site, watch: Watch
) -> Session:
    await wait_until_listening(
        process,
        control,
        served_name=served_name,
        limit_s=site.experiment.server.start_timeout_s,
        watch=watch,
    )
    # Several tokens become final in one pass, so an event says which ones it carries.
    target = Target(base_url=control.base_url, model=served_name, return_token_ids=True)
    watch.on_stage("proving the server ready")
    await prove_ready(target, control, ranks=1, vocab=site.model.vocab)

    def alive() -> None:
        if process.exit_code is not None:
            raise death(process)

    account = (await control.models())[0].get("details")
    said = msgspec.convert(account, dict[str, str | int | float])
    found = devices()
    http = HttpSession(
        target=target,
        control=control,
        vocab=site.model.vocab,
        provenance="measured",
        gpu_type=found[0].gpu_type if found and said["device"] != "cpu" else "CPU",
        details={"command": list(process.command), "version": await control.version(), **said},
        num_warmups=site.experiment.num_warmups,
        client_workers=site.experiment.client_workers,
        alive=alive,
        pid=process.pid,
        gpus=tuple(int(index) for index in (site.gpus or ())[:1]),
    )
    return DiffusionSession(http, {name: said.get(name) for name in COLUMNS})
