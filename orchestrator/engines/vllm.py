"""Real vLLM: on the GPUs of this host or, without one, on its CPU."""

import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any

from catalog.errors import ServerStartFailed
from orchestrator.devices import Device, devices
from orchestrator.engines.base import Session, Site, Watch
from orchestrator.engines.command import (
    find_command,
    make_weights,
    server_command,
    server_environment,
)
from orchestrator.engines.control import SIMULATED_OWNER, Control
from orchestrator.engines.expert_session import ExpertSession
from orchestrator.engines.http_session import HttpSession
from orchestrator.engines.readback import layout_difference, observed
from orchestrator.engines.readiness import death, prove_ready, wait_until_listening
from orchestrator.expert_load import Experts
from orchestrator.gpucheck import misplaced, wait_until_free
from orchestrator.plan import ServerGroup
from orchestrator.ports import port_range
from orchestrator.process import ServerProcess
from orchestrator.record import Provenance
from strategies.layout import Layout
from workloads.target import Target


class VllmEngine:
    """Starts one vLLM server a group, proves it ready, and takes it down again."""

    @contextlib.asynccontextmanager
    async def open(self, group: ServerGroup, site: Site, watch: Watch) -> AsyncIterator[Session]:
        mine = _devices(site, group)
        if mine:
            watch.on_stage("looking at the GPUs")
        await wait_until_free(mine, "GPU_NOT_CLEAN")
        with port_range() as ports:
            served_name = f"moeserve-{secrets.token_hex(6)}"
            process = start_server(group, site, ports, served_name)
            base_url = f"http://{site.host}:{ports.start}"
            try:
                async with Control(base_url, api_key=site.api_key) as control:
                    yield await _ready(process, control, served_name, group, site, watch)
            finally:
                watch.on_stage("stopping the server")
                await process.stop()
        await wait_until_free(mine, "ORPHAN_STUCK")


def _devices(site: Site, group: ServerGroup) -> tuple[Device, ...]:
    """The GPUs that the server is given; none when it runs on the CPU."""
    given = (site.gpus or ())[: group.num_gpus]
    return tuple(device for device in devices() if str(device.index) in given) if given else ()


def start_server(group: ServerGroup, site: Site, ports: range, served_name: str) -> ServerProcess:
    """Start the server's process; it is not ready yet."""
    base = list(site.experiment.server.command) or find_command()
    if base is None:
        raise ServerStartFailed(
            "SERVER_MISSING: no vLLM here: pip install 'moeserve[vllm]', or name its command with "
            "--server-command, or use --engine simulated",
            stage="launch",
        )
    command = server_command(group, site, base=base, port=ports.start, served_name=served_name)
    environment = server_environment(group, site, ports)
    make_weights(group, site)
    try:
        return ServerProcess(
            command,
            log=site.folder / "server.log",
            env=environment,
            grace_s=site.stop_grace_s,
            detached=site.detached,
        )
    except OSError as error:
        raise ServerStartFailed(f"SERVER_MISSING: {base[0]}: {error}", stage="launch") from error


async def _ready(
    process: ServerProcess,
    control: Control,
    served_name: str,
    group: ServerGroup,
    site: Site,
    watch: Watch,
) -> Session:
    layout = group.setup.layout
    assert layout is not None
    await wait_until_listening(
        process,
        control,
        served_name=served_name,
        limit_s=site.experiment.server.start_timeout_s,
        watch=watch,
    )
    target = Target(base_url=control.base_url, model=served_name, api_key=site.api_key or "")
    watch.on_stage("proving every rank ready")
    await prove_ready(target, control, ranks=layout.dp, vocab=site.model.vocab)
    mine = _devices(site, group)
    elsewhere = misplaced(mine, process.marker) if mine else ""
    if elsewhere:
        raise ServerStartFailed(
            f"DEVICE_MAP: {elsewhere}", stage="read-back", log_tail=process.log_tail()
        )
    difference = layout_difference(layout, process.log_text())
    if difference:
        raise ServerStartFailed(
            f"CONFIG_DRIFT: {difference}", stage="read-back", log_tail=process.log_tail()
        )

    def alive() -> None:
        if process.exit_code is not None:
            raise death(process)

    session = HttpSession(
        target=target,
        control=control,
        vocab=site.model.vocab,
        provenance=await provenance_of(control),
        gpu_type=_gpu_type(),
        details=await _details(process, control),
        num_warmups=site.experiment.num_warmups,
        client_workers=site.experiment.client_workers,
        alive=alive,
        pid=process.pid,
        gpus=_indices(site, layout),
    )
    experts = site.model.experts
    if not site.experiment.expert_load or experts is None:
        return session
    ranks = layout.ep_degree if layout.ep and not _rebalanced(site) else None
    return ExpertSession(session, Experts(experts.count, ranks), process.log)


def _rebalanced(site: Site) -> bool:
    """True when vLLM's balancer moves experts between ranks."""
    return "--enable-eplb" in site.experiment.server.args


def _indices(site: Site, layout: Layout) -> tuple[int, ...]:
    """NVML's numbers of the GPUs that the server was given."""
    return tuple(int(index) for index in (site.gpus or ())[: layout.num_gpus])


async def provenance_of(control: Control) -> Provenance:
    owners = {entry.get("owned_by") for entry in await control.models()}
    return "simulated" if SIMULATED_OWNER in owners else "measured"


def _gpu_type() -> str:
    found = devices()
    return found[0].gpu_type if found else "CPU"


async def _details(process: ServerProcess, control: Control) -> dict[str, Any]:
    seen = observed(process.log_text())
    return {
        "command": list(process.command),
        "version": await control.version(),
        "observed_layout": seen.layout.name if seen.layout else None,
        "kv_tokens_capacity": seen.kv_tokens_capacity,
        "model_memory_bytes": seen.model_memory_bytes,
        "non_default_args": seen.non_default_args,
    }
