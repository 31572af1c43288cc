"""The model that a server really holds: its technique may put another checkpoint in its place."""

import functools

from catalog.dtypes import as_served
from catalog.errors import Infeasible
from catalog.from_hf import read_model
from catalog.hardware import Gpu
from catalog.models import Model
from orchestrator.experiment.cells import Setup
from orchestrator.experiment.offloaded_model import Offloading
from perfmodel.memory import Conventions, memory

NARROWING = ("vllm", "simulated")

_load = functools.lru_cache(maxsize=64)(read_model)


def stored_model(setup: Setup, model: Model) -> Model:
    """Return what is in memory: the technique's checkpoint, stored in its data types."""
    return setup.technique.stored(loaded_model(setup, model))


def loaded_model(setup: Setup, model: Model) -> Model:
    """Return the checkpoint in the type that its server holds it in unless told otherwise.

    vLLM, and its model, narrow float32 on a GPU. On the CPU float32 stays: moeserve asks for it.
    """
    checkpoint = checkpoint_of(setup, model)
    if setup.engine not in NARROWING or setup.hardware == "CPU" or setup.endpoint:
        return checkpoint
    return as_served(checkpoint, setup.gpu)


def checkpoint_of(setup: Setup, model: Model) -> Model:
    """Return the model whose weights are loaded: the technique's, else its own."""
    named = setup.technique.checkpoint
    return _load(named) if named else model


def variant_violations(setup: Setup, model: Model) -> tuple[str, ...]:
    """Say why another checkpoint cannot be measured with the model's own prompts."""
    stored = stored_model(setup, model)
    if stored.vocab < model.vocab:
        return (
            f"{stored.name} knows {stored.vocab} tokens, {model.name} {model.vocab}: "
            "they cannot be given the same prompts",
        )
    return ()


def memory_violations(
    setup: Setup, held: Model, gpu: Gpu, longest: int, spare: Offloading
) -> tuple[str, ...]:
    """Check weights and one longest sequence, where their types and place are known."""
    technique = setup.technique
    if setup.layout is None or not technique.memory_known:
        return ()
    budget = memory(held, setup.layout, gpu, Conventions(kv_dtype=technique.kv_dtype))
    budget, offloaded = spare(budget, technique, held)
    try:
        budget.check(longest)
    except Infeasible as error:
        return (f"{error}; estimated with {offloaded}" if offloaded else str(error),)
    return ()
