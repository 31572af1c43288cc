"""A server that already runs: nothing is started, and its layout is what the user says it is."""

from collections.abc import Callable

import msgspec

from catalog.errors import BadValue
from catalog.models import Model
from orchestrator.engine import Engine
from orchestrator.engines.kind import EngineKind, Request, RunningModel
from orchestrator.experiment.cells import Setup, techniques_of
from orchestrator.experiment.experiment import Experiment
from strategies import Technique

NAME = "endpoint"


def _build() -> Engine:
    from orchestrator.engines.endpoint.engine import EndpointEngine

    return EndpointEngine()


async def _running_model(experiment: Experiment, tell: Callable[[str], None]) -> RunningModel:
    """Name the model: as the user does, else as the server itself does."""
    from orchestrator.engines.endpoint.inspect import inspect

    _check_labels(experiment, techniques_of(experiment, NAME))
    found = await inspect(experiment, tell)
    name = experiment.models[0] if experiment.models else found.identity.asked
    return RunningModel(name, msgspec.to_builtins(found.identity))


def _check(request: Request) -> None:
    _check_labels(request.experiment, request.techniques)
    if request.experiment.expert_load and request.experiment.endpoint_options.texts:
        raise BadValue("--expert-load", "on", "prompts of token ids: --prompt ids")


def _check_labels(experiment: Experiment, techniques: tuple[Technique, ...]) -> None:
    """Refuse several names for the one server that runs: they would be compared with each other."""
    named = {"--strategy": experiment.strategies, "--technique": [each.name for each in techniques]}
    for flag, names in named.items():
        if len(names) > 1:
            raise BadValue(flag, ", ".join(names), "one, the one that the running server has")


def _violations(_setup: Setup, _model: Model, _longest: int) -> tuple[str, ...]:
    return ()


KIND = EngineKind(
    name=NAME,
    build=_build,
    check=_check,
    violations=_violations,
    start_s=0.0,
    devices="none",
    hardware="",
    running_model=_running_model,
    reports_experts=True,
)
