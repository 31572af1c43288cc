"""Real vLLM: on the GPUs of this host or, without one, on its CPU."""

import contextlib
import dataclasses
import secrets
from collections.abc import AsyncIterator

from catalog.errors import ServerStartFailed, install_line
from orchestrator.engine import Callbacks, LaunchContext, Session
from orchestrator.engines.checkpoints import make_weights
from orchestrator.engines.gpus import given_gpus, gpu_type, sampled_gpus
from orchestrator.engines.vllm.account import account_of
from orchestrator.engines.vllm.build import cpu_of
from orchestrator.engines.vllm.command import (
    base_command,
    caches_prefixes,
    cores_of,
    is_own,
    server_command,
    server_environment,
)
from orchestrator.engines.vllm.oldest import refuse_old
from orchestrator.engines.vllm.server_info import asking
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.host.container import given_container
from orchestrator.host.environment import launch_env
from orchestrator.host.gpu_check import misplaced, wait_until_free
from orchestrator.host.ports import port_range
from orchestrator.host.process import ServerProcess, Within
from orchestrator.measure.control import Control, provenance_of
from orchestrator.measure.expert_load import RoutedExperts
from orchestrator.measure.expert_session import ExpertSession
from orchestrator.measure.http_session import HttpSession
from orchestrator.measure.readiness import prove_own_ready, server_died, wait_until_listening
from workloads.transport.target import Target


class VllmEngine:
    """Starts one vLLM server a group, proves it ready, and takes it down again."""

    @contextlib.asynccontextmanager
    async def open(
        self, group: ServerGroup, context: LaunchContext, callbacks: Callbacks
    ) -> AsyncIterator[Session]:
        mine = given_gpus(context, group)
        if mine:
            callbacks.on_stage("looking at the GPUs")
        await wait_until_free(mine, "GPU_NOT_CLEAN")
        with port_range() as ports:
            served_name = f"moeserve-{secrets.token_hex(6)}"
            process = start_server(group, context, ports, served_name)
            base_url = f"http://{context.host}:{ports.start}"
            try:
                async with Control(base_url, api_key=context.api_key) as control:
                    yield await _ready(process, control, served_name, group, context, callbacks)
            finally:
                callbacks.on_stage("stopping the server")
                await process.stop()
        await wait_until_free(mine, "ORPHAN_STUCK")


def start_server(
    group: ServerGroup, context: LaunchContext, ports: range, served_name: str
) -> ServerProcess:
    """Start the server's process; it is not ready yet."""
    base = base_command(context.experiment)
    if base is None:
        raise ServerStartFailed(
            f"SERVER_MISSING: no vLLM here: {install_line('vllm')}, or name its command with "
            "--server-command, or use --engine simulated",
            stage="launch",
        )
    guard, dev_mode, _ = asking(context.host, own=is_own(context.experiment))
    command = server_command(
        group,
        dataclasses.replace(context, args=(*guard, *context.args)),
        base=base,
        port=ports.start,
        served_name=served_name,
    )
    environment = dev_mode | server_environment(group, context, ports)
    make_weights(group, context)
    try:
        return ServerProcess(
            command,
            log=context.folder / "server.log",
            env=environment,
            grace_s=context.stop_grace_s,
            detached=context.detached,
            within=Within(cores_of(group), given_container()),
        )
    except OSError as error:
        raise ServerStartFailed(f"SERVER_MISSING: {base[0]}: {error}", stage="launch") from error


async def _ready(
    process: ServerProcess,
    control: Control,
    served_name: str,
    group: ServerGroup,
    context: LaunchContext,
    callbacks: Callbacks,
) -> Session:
    layout = group.setup.layout
    assert layout is not None
    await wait_until_listening(
        process,
        control,
        served_name=served_name,
        limit_s=context.experiment.server.start_timeout_s,
        callbacks=callbacks,
    )
    version = await control.version()
    refuse_old(version)
    target = Target(
        base_url=control.base_url,
        model=served_name,
        api_key=context.api_key or "",
        takes_cache_salt=caches_prefixes(context),
    )
    callbacks.on_stage("proving every rank ready")
    await prove_own_ready(process, target, control, ranks=layout.dp, vocab=context.model.vocab)
    mine = given_gpus(context, group)
    elsewhere = misplaced(mine, process.marker) if mine else ""
    if elsewhere:
        raise ServerStartFailed(
            f"DEVICE_MAP: {elsewhere}; NVML numbers GPUs as CUDA_DEVICE_ORDER=PCI_BUS_ID does",
            stage="read-back",
            log_tail=process.log_tail(),
        )
    callbacks.on_stage("reading the layout back")
    account = await account_of(process.whole_log(), control)
    difference = account.difference(layout)
    if difference:
        raise ServerStartFailed(
            f"CONFIG_DRIFT: {difference}", stage="read-back", log_tail=process.log_tail()
        )

    def alive() -> None:
        if process.exit_code is not None:
            raise server_died(process)

    session = HttpSession(
        target=target,
        control=control,
        vocab=context.model.vocab,
        provenance=await provenance_of(control),
        gpu_type="CPU" if cpu_of(context.experiment).only else gpu_type(context, group),
        details={
            "command": list(process.command),
            "version": version,
            **account.details,
            "chosen": {**account.chosen, "launch_env": launch_env(), **_image()},
            "server_info": asking(context.host, own=is_own(context.experiment))[2] or "asked",
        },
        num_warmups=context.experiment.num_warmups,
        client_workers=context.experiment.client_workers,
        alive=alive,
        pid=process.root,
        gpus=sampled_gpus(context, group),
    )
    experts = context.model.experts
    if not context.experiment.expert_load or experts is None:
        return session
    ranks = layout.ep_degree if layout.ep and not _rebalanced(context) else None
    return ExpertSession(session, RoutedExperts(experts.count, ranks), process.log)


def _image() -> dict[str, str]:
    """The image that a server runs in, a column of its rows."""
    box = given_container()
    return {"image": str(box)} if box else {}


def _rebalanced(context: LaunchContext) -> bool:
    """True when vLLM's balancer moves experts between ranks."""
    return "--enable-eplb" in context.experiment.server.args
