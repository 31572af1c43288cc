"""What the simulated engine is asked for must be in its model: the rest is refused before a start.

An option that the model ignores would be found equal to its absence, with any number of replicates.
"""

from collections.abc import Iterable, Mapping

import msgspec

from catalog.errors import BadValue, Infeasible
from catalog.models import Model
from orchestrator.experiment.asked import workloads_of
from orchestrator.experiment.cells import Setup
from orchestrator.experiment.effective_model import checkpoint_of, loaded_model
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.server_dtypes import requested_model
from perfmodel.memory import memory
from perfmodel.priced import check_priced
from perfmodel.serving import DEFAULT_SETTINGS, ServerSettings
from servers.simulated.arguments import ServerArguments, server_arguments
from workloads.load.workload import Workload


def check_simulated(
    experiment: Experiment, models: Mapping[str, Model], setups: Iterable[Setup]
) -> None:
    """Raise BadValue for the first knob, server argument or variable that is not priced."""
    for name in experiment.server.env:
        allowed = "none in simulation: no process reads it; --engine vllm takes every variable"
        raise BadValue("--server-env", name, allowed)
    requested = server_arguments(experiment.server.args)
    for model in models:
        _check_ends(experiment, model)
        _check_length(requested, experiment, model)
    for setup in setups:
        served = checkpoint_of(setup, models[setup.model])
        requested.check_context(served)
        if setup.layout is not None:
            check_priced(setup.layout, served)


def _check_ends(experiment: Experiment, model: str) -> None:
    for workload in workloads_of(experiment, model):
        if workload.natural:
            allowed = (
                "answers of the lengths asked for, with --engine simulated: no model is there that "
                "could end one; leave `natural` out"
            )
            raise BadValue("--workload", workload.name, allowed)


def _check_length(requested: ServerArguments, experiment: Experiment, model: str) -> None:
    for workload in workloads_of(experiment, model):
        tokens = workload.longest_tokens
        if requested.max_model_len is not None and requested.max_model_len < tokens:
            allowed = (
                f"{tokens} or more, for prompt ({workload.input_len}) and answer "
                f"({workload.output_len}) of {workload.name}"
            )
            raise BadValue("--max-model-len", requested.max_model_len, allowed)


def held_model(setup: Setup, model: Model, requested: ServerArguments) -> Model:
    """Return what is in memory: a `--dtype` comes after the technique and wins, as in vLLM."""
    words = ("--dtype", requested.dtype) if requested.dtype else ()
    held = requested_model(setup.technique, loaded_model(setup, model), words)
    assert held is not None  # only a type that is not known gives none
    return held


def assumed_of(
    setup: Setup, requested: ServerArguments, base: ServerSettings = DEFAULT_SETTINGS
) -> ServerSettings:
    """Return what the model assumes of a server: its technique's cache, then its arguments."""
    kv_dtype = setup.technique.kv_dtype
    if kv_dtype:
        conventions = msgspec.structs.replace(base.conventions, kv_dtype=kv_dtype)
        base = msgspec.structs.replace(base, conventions=conventions)
    return requested.setup(base)


def caching(
    workloads: Iterable[Workload], base: ServerSettings = DEFAULT_SETTINGS
) -> ServerSettings:
    """Return what is assumed where nobody says otherwise: prefixes are kept if some are shared.

    As the real servers that moeserve starts; prompts all seen before leave nothing to keep.
    """
    kept = not base.prefix_cached and any(workload.shares for workload in workloads)
    return msgspec.structs.replace(base, prefix_caching=kept) if kept else base


def memory_short(setup: Setup, model: Model, longest: int) -> tuple[str, ...]:
    """Say what of weights and one longest sequence does not fit the memory it may take."""
    gpu = setup.gpu
    if setup.layout is None or gpu is None or setup.hardware == "CPU":
        return ()
    requested = server_arguments(setup.server_args)
    held, conventions = (
        held_model(setup, model, requested),
        assumed_of(setup, requested).conventions,
    )
    try:
        memory(held, setup.layout, gpu, conventions).check(requested.longest(longest))
    except Infeasible as error:
        return (str(error),)
    return ()
