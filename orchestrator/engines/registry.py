"""The engines by name, and which one `auto` means here."""

from importlib import import_module

from catalog.errors import UnknownName
from orchestrator.devices import devices
from orchestrator.engines.base import Engine
from orchestrator.engines.command import find_command
from orchestrator.experiment import Experiment

# By module, so that a simulated run imports no HTTP client.
ENGINES: dict[str, tuple[str, str]] = {
    "vllm": ("orchestrator.engines.vllm", "VllmEngine"),
    "simulated": ("orchestrator.engines.simulated", "SimulatedEngine"),
    "diffusion": ("orchestrator.engines.diffusion", "DiffusionEngine"),
    "transformers": ("orchestrator.engines.transformers", "TransformersEngine"),
    "llamacpp": ("orchestrator.engines.llamacpp", "LlamaCppEngine"),
    "endpoint": ("orchestrator.engines.endpoint", "EndpointEngine"),
}


def resolve(experiment: Experiment) -> tuple[str, str]:
    """Return the engine's name, and a notice where `auto` had to choose."""
    if experiment.endpoint:
        return "endpoint", ""
    if experiment.engine != "auto":
        return experiment.engine, ""
    if not devices():
        missing = "no GPU"
    elif not find_command() and not experiment.server.command:
        missing = "no vLLM"
    else:
        return "vllm", ""
    return "simulated", (
        f"{missing} here: using the simulated engine. Its numbers come from a model of the GPU and "
        "are marked «simulated»; --engine vllm starts real servers"
    )


def engine(name: str) -> Engine:
    if name not in ENGINES:
        raise UnknownName("engine", name, ENGINES)
    module, engine_class = ENGINES[name]
    built: Engine = getattr(import_module(module), engine_class)()
    return built
