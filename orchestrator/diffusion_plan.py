"""What the diffusion engine may be asked, checked before anything is started or loaded."""

from collections.abc import Mapping

from catalog.errors import BadValue
from catalog.model_table import MODELS
from catalog.models import Model
from orchestrator.devices import Device
from orchestrator.experiment import Experiment
from orchestrator.hfserver.diffusion.memory import check_memory
from orchestrator.hfserver.diffusion.options import parse_options
from orchestrator.told import dtype_told, with_dtype
from strategies import Layout
from workloads.profiles import Workload, parse_workload


def check_diffusion(
    experiment: Experiment,
    engine: str,
    models: Mapping[str, Model],
    found: tuple[Device, ...] = (),
) -> None:
    """Refuse a model on an engine of the other kind, and what the diffusion engine cannot do."""
    for model in models.values():
        _check_kind(model, engine, experiment)
    if engine != "diffusion":
        return
    options = parse_options(experiment.server.args)
    free_bytes = found[0].memory_bytes if found else None
    for workload in map(parse_workload, experiment.workloads):
        if workload.output_len > 1:  # one token is one pass, whatever the steps
            options.check_even(workload.output_len)
        for model in models.values():
            check_lengths(model, workload)
            tokens = workload.input_len + workload.output_len
            held = with_dtype(model, dtype_told(experiment.server.args)) or model
            check_memory(held, options, tokens, available_bytes=free_bytes)


def _check_kind(model: Model, engine: str, experiment: Experiment) -> None:
    names = ", ".join(name for name, row in MODELS.items() if row.kind == "diffusion")
    if engine == "diffusion" and model.kind != "diffusion":
        raise BadValue("--engine diffusion", model.name, f"a diffusion model: {names}")
    foreign = engine == "vllm" and not experiment.server.command
    if model.kind == "diffusion" and (engine == "simulated" or foreign):
        raise BadValue(
            f"--engine {engine}",
            model.name,
            "a model that decodes token by token; --engine diffusion serves this one",
        )


def check_lengths(model: Model, workload: Workload) -> None:
    """Refuse a prompt that leaves no room for its answer."""
    tokens = workload.input_len + workload.output_len
    if tokens > model.max_context:
        given = f"{workload.input_len}:{workload.output_len} on {model.name}"
        allowed = f"prompt and answer of {model.max_context} tokens together, not {tokens}"
        raise BadValue("--workload", given, allowed)


def one_device(layout: Layout | None) -> tuple[str, ...]:
    """Say why a layout over several GPUs is not served."""
    if layout is None or layout.num_gpus == 1:
        return ()
    return (f"the diffusion engine serves on one device, {layout.name} needs {layout.num_gpus}",)
