"""The engines by name, and which one `auto` means here."""

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

from catalog.errors import UnknownName
from orchestrator.experiment import AUTO

if TYPE_CHECKING:
    from orchestrator.engines.kind import EngineKind
    from orchestrator.experiment.experiment import Experiment

ENGINES: dict[str, str] = {
    "vllm": "orchestrator.engines.vllm.kind:KIND",
    "transformers": "orchestrator.engines.huggingface.kinds:TRANSFORMERS",
    "llamacpp": "orchestrator.engines.llamacpp.kind:KIND",
    "simulated": "orchestrator.engines.simulated.kind:KIND",
    "diffusion": "orchestrator.engines.huggingface.kinds:DIFFUSION",
    "endpoint": "orchestrator.engines.endpoint.kind:KIND",
}
"""By module, so that whoever only needs the names imports no engine."""
SERVERS, SIMULATION, RUNNING = "vllm", "simulated", "endpoint"
"""What `auto` means with GPUs and without, and what an address means."""


def choices() -> tuple[str, ...]:
    """Return what may be asked for by name; a server that runs is asked for by its address."""
    return (AUTO, *(name for name in ENGINES if name != RUNNING))


def engine_kind(name: str) -> "EngineKind":
    """Return an engine's record; UnknownName where there is no such engine."""
    if name not in ENGINES:
        raise UnknownName("engine", name, choices())
    module, _, value = ENGINES[name].partition(":")
    kind: EngineKind = getattr(import_module(module), value)
    return kind


def engine_kinds() -> "Iterator[EngineKind]":
    """Yield every engine's record."""
    return map(engine_kind, ENGINES)


def resolve(experiment: "Experiment", *, gpus: bool | None = None) -> "tuple[EngineKind, str]":
    """Return the engine asked for, and a notice where `auto` had to choose.

    `gpus` says whether there are any where the servers will run; None looks at this host.
    """
    if experiment.endpoint:
        return engine_kind(RUNNING), ""
    if experiment.engine != AUTO:
        return engine_kind(experiment.engine), ""
    missing = _missing(experiment) if gpus is None else "" if gpus else "no GPU in the cluster"
    if not missing:
        return engine_kind(SERVERS), ""
    return engine_kind(SIMULATION), (
        f"{missing}: using the simulated engine. Its numbers come from a model of the GPU and "
        "are marked «simulated»; --engine vllm starts real servers"
    )


def _missing(experiment: "Experiment") -> str:
    """Say what real servers lack on this host; empty when they lack nothing."""
    from orchestrator.host.devices import inventory

    found = inventory()
    if not found.devices:
        return f"no GPU that can be used: {found.trouble}" if found.trouble else found.absent
    cpu = engine_kind(SERVERS).cpu(experiment)
    if cpu.only:
        return f"{cpu.told} computes on the CPU alone"
    lacking = [each.name for each in engine_kind(SERVERS).requirements() if not each.ok]
    return f"no {lacking[0]} here" if lacking and not experiment.server.command else ""
