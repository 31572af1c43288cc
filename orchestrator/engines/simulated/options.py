"""What the simulated engine is asked for must be in its model: the rest is refused before a start.

An option that the model ignores would be found equal to its absence, with any number of replicates.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from catalog.errors import BadValue, Infeasible
from catalog.models import Model
from orchestrator.experiment.asked import workloads_of
from orchestrator.experiment.cells import Setup
from orchestrator.experiment.effective_model import checkpoint_of, loaded_model
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.server_dtypes import requested_model
from perfmodel.engine_defaults import schedules_ahead
from perfmodel.memory import memory
from perfmodel.offload import WeightLimits, spread_weights
from perfmodel.priced import check_priced
from perfmodel.serving import DEFAULT_SETTINGS, ServerSettings
from servers.huggingface.dispatch import options as dispatch
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
    spread = dispatch.options_of(setup.technique)
    if spread is not None:
        weights = WeightLimits(gpu_bytes=spread.gpu_bytes, host_bytes=spread.cpu_bytes)
        base = msgspec.structs.replace(base, weights=weights)
    return requested.setup(base)


def beside_columns(setup: Setup, base: ServerSettings, noise: float) -> str:
    """What prices a server and stands in no other column of its row; empty where all is default.

    Estimates that differ in it are not of one condition, so it belongs to theirs.
    """
    requested = server_arguments(setup.server_args)
    assumed = assumed_of(setup, requested, base)
    conventions, routing = assumed.conventions, assumed.routing
    of_technique = conventions.kv_dtype in (None, setup.technique.kv_dtype)
    said = {
        f"{conventions.usable_fraction:g} of memory usable": (
            conventions.usable_fraction != DEFAULT_SETTINGS.conventions.usable_fraction
        ),
        f"KV cache in {conventions.kv_dtype}": not of_technique,
        f"computing in {requested.dtype}": requested.dtype not in (None, "auto"),
        f"blocks of {assumed.block_tokens}": assumed.block_tokens != DEFAULT_SETTINGS.block_tokens,
        f"scheduled {'ahead' if assumed.async_scheduling else 'step by step'}": (
            _asked_otherwise(setup, assumed)
        ),
        f"zipf {routing.zipf:g}": routing.zipf > 0,
        f"imbalance {routing.imbalance:g}": routing.imbalance > 1,
        f"routing {_digest(routing.counts)}": bool(routing.counts),
        f"noise {noise:g}": noise > 0,
    }
    return "; ".join(text for text, differs in said.items() if differs)


def _asked_otherwise(setup: Setup, assumed: ServerSettings) -> bool:
    """Whether its server was told to schedule as its version, GPU and layout do not by default."""
    if not (setup.gpu and setup.layout):
        return False
    asked, default = (
        schedules_ahead(setup.gpu, setup.layout, assumed.engine_version, asked=each)
        for each in (assumed.async_scheduling, None)
    )
    return asked != default


def _digest(counts: Sequence[Sequence[int]]) -> str:
    return hashlib.sha256(msgspec.json.encode(counts)).hexdigest()[:8]


def spread_unpriced(setup: Setup, model: Model, longest: int) -> str:
    """Say why weights spread over host memory and disk have no price; empty where they have one."""
    if dispatch.options_of(setup.technique) is None or not setup.layout or not setup.gpu:
        return ""
    if setup.layout.num_gpus > 1:
        return f"accelerate-offload is priced on one GPU, {setup.layout.name} needs more"
    requested = server_arguments(setup.server_args)
    held, assumed = held_model(setup, model, requested), assumed_of(setup, requested)
    if not held.sized or assumed.weights is None:
        return ""
    budget = memory(held, setup.layout, setup.gpu, assumed.conventions)
    try:
        spread_weights(budget, assumed.weights, requested.longest(longest)).seconds(setup.gpu)
    except Infeasible:
        return ""  # said with what else does not fit
    except BadValue as error:
        return str(error)
    return ""


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
    held, assumed = held_model(setup, model, requested), assumed_of(setup, requested)
    longest = requested.longest(longest)
    try:
        budget = memory(held, setup.layout, gpu, assumed.conventions)
        if assumed.weights is not None:
            budget = spread_weights(budget, assumed.weights, longest).memory
        budget.check(longest)
    except Infeasible as error:
        return (str(error),)
    return ()
