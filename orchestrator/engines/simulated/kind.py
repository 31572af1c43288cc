"""The simulated engine: a model of the GPU in virtual time."""

from collections.abc import Iterable

import msgspec

from catalog.errors import BadValue
from catalog.gpu_row import row_of
from catalog.models import Model
from catalog.python import python_module
from orchestrator.engine import Engine, LaunchContext
from orchestrator.engines.checks import TOKEN_BY_TOKEN, fits, missing_link
from orchestrator.engines.kind import EngineKind, Request, ServerCommand, refuse_kind
from orchestrator.engines.simulated.options import check_simulated, memory_short, spread_unpriced
from orchestrator.experiment.cells import Run, Setup
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.host.requirements import Requirement
from strategies.vllm_args import vllm_args

NAME = "simulated"
HARDWARE = "A100-80GB"
RUN_S = 0.02
"""What one run in virtual time takes with its record."""


def _build() -> Engine:
    from orchestrator.engines.simulated.engine import SimulatedEngine

    return SimulatedEngine()


def _check(request: Request) -> None:
    refuse_kind(request, NAME, "autoregressive", TOKEN_BY_TOKEN)
    check_simulated(request.experiment, request.models, request.setups)


def _violations(setup: Setup, model: Model, longest: int) -> tuple[str, ...]:
    unknown = spread_unpriced(setup, model, longest) or missing_link(setup)
    why = (*fits(setup, model, longest, None), *memory_short(setup, model, longest))
    return (*why, unknown) if unknown else why


def _command(
    group: ServerGroup, context: LaunchContext, port: int, served_name: str
) -> ServerCommand:
    """The same engine by the clock, behind HTTP."""
    setup = group.setup
    assert setup.layout is not None
    if setup.technique.parts:
        allowed = "none: the simulated server knows layouts; moeserve run simulates techniques"
        raise BadValue("--technique", setup.technique.name, allowed)
    words = (
        *python_module("servers.simulated"),
        *("--model", context.experiment.models[0], "--served-model-name", served_name),
        *("--port", str(port), "--hardware", _hardware(setup)),
        *vllm_args(setup.layout),
        *context.args,
        *setup.server_args,
    )
    return ServerCommand(words)


def _hardware(setup: Setup) -> str:
    """The GPU's name, or the row of one that only its user knows."""
    if setup.own_gpu is None:
        return setup.hardware
    return msgspec.json.encode(row_of(setup.own_gpu)).decode()


def _run_seconds(_group: ServerGroup, runs: Iterable[Run], _model: Model) -> list[float | None]:
    return [RUN_S for _ in runs]


def _requirements() -> Iterable[Requirement]:
    yield Requirement("simulated engine", True, "always")


KIND = EngineKind(
    name=NAME,
    build=_build,
    check=_check,
    violations=_violations,
    command=_command,
    run_seconds=_run_seconds,
    start_s=0.0,
    devices="none",
    hardware=HARDWARE,
    virtual=True,
    counted=True,
    no_quality="a real engine: a simulated one holds no weights to judge",
    requirements=_requirements,
)
