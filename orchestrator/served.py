"""The model that a server really holds: its technique may put another checkpoint in its place."""

import functools
import platform
from pathlib import Path

from catalog.errors import Infeasible
from catalog.from_hf import load_model
from catalog.hardware import Gpu
from catalog.models import Model
from orchestrator.cells import Setup
from orchestrator.offloaded import with_offloading
from orchestrator.told import held_as_told
from perfmodel.memory import Conventions, memory
from strategies.ability import refuse_on_cpu, refuse_without_gpu
from strategies.technique import Technique, parse_technique

_load = functools.lru_cache(maxsize=64)(load_model)


def stored_model(setup: Setup, model: Model) -> Model:
    """Return what is in memory: the technique's checkpoint, stored in its data types."""
    technique = parse_technique(setup.technique)
    return technique.stored(_checkpoint(technique, model))


def _checkpoint(technique: Technique, model: Model) -> Model:
    return _load(technique.checkpoint) if technique.checkpoint else model


def variant_misfits(setup: Setup, model: Model) -> tuple[str, ...]:
    """Say why another checkpoint cannot be measured with the model's own prompts."""
    stored = stored_model(setup, model)
    if stored.vocab < model.vocab:
        return (
            f"{stored.name} knows {stored.vocab} tokens, {model.name} {model.vocab}: "
            "they cannot be given the same prompts",
        )
    return ()


def memory_misfits(setup: Setup, model: Model, gpu: Gpu, longest: int) -> tuple[str, ...]:
    """Check weights and one longest sequence, where their types and place are known."""
    technique = parse_technique(setup.technique)
    if setup.layout is None or not technique.memory_known:
        return ()
    args = () if setup.engine == "simulated" else setup.server_args
    held = held_as_told(technique, _checkpoint(technique, model), args, engine=setup.engine)
    if held is None:
        return ()
    budget = memory(held, setup.layout, gpu, Conventions(kv_dtype=technique.kv_dtype))
    budget, offloaded = with_offloading(budget, technique, held, engine=setup.engine)
    try:
        budget.check(longest)
    except Infeasible as error:
        return (f"{error}; estimated with {offloaded}" if offloaded else str(error),)
    return ()


def refuse_without_kernel(setup: Setup) -> None:
    """Raise BadValue where the engine on this CPU has no kernel for the technique."""
    if setup.hardware != "CPU":
        return
    if setup.engine == "vllm" and platform.machine() == "x86_64":
        refuse_on_cpu(parse_technique(setup.technique), cpu_flags())
    if setup.engine == "transformers":
        refuse_without_gpu(parse_technique(setup.technique))


def cpu_flags(path: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return the instruction sets of this CPU as Linux names them; empty where it does not."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(flags.partition(":")[2].split())
