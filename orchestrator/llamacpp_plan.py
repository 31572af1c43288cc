"""What the llama.cpp engine may be asked, checked before anything is started or loaded."""

import importlib.util
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from catalog.errors import BadValue, MissingExtra
from catalog.hardware_table import GPUS
from catalog.models import Model
from catalog.units import gib
from orchestrator.cells import Setup, techniques_of
from orchestrator.diffusion_plan import check_lengths
from orchestrator.experiment import Experiment
from orchestrator.gguf import GgufHead, read_head
from strategies import Layout
from strategies.technique import Technique, parse_technique
from workloads.profiles import parse_workload

OWN_SERVER = (sys.executable, "-m", "orchestrator.engines.llamacpp_server")
CONVERT = "llama.cpp's convert_hf_to_gguf.py and llama-quantize make one"


def check_llamacpp(experiment: Experiment, engine: str, models: Mapping[str, Model]) -> None:
    """Refuse a missing server, weights that are not named or not the model's, and bad lengths."""
    if engine != "llamacpp":
        return
    require_server(experiment)
    if experiment.server.weights != "checkpoint":
        raise BadValue("weights", experiment.server.weights, "checkpoint, with --engine llamacpp")
    for model in models.values():
        if model.kind == "diffusion":
            allowed = "a model that decodes token by token; --engine diffusion serves this one"
            raise BadValue("--engine llamacpp", model.name, allowed)
        for workload in map(parse_workload, experiment.workloads):
            check_lengths(model, workload)
        for technique in techniques_of(experiment, engine):
            _check_weights(technique, model)
            _check_experts(technique, model)


def find_server(experiment: Experiment) -> list[str] | None:
    """Return the command named, else llama-server on the PATH, else ours around xllamacpp."""
    if experiment.server.command:
        return list(experiment.server.command)
    if program := shutil.which("llama-server"):
        return [program]
    return list(OWN_SERVER) if importlib.util.find_spec("xllamacpp") else None


def require_server(experiment: Experiment) -> list[str]:
    """Return the server's command; MissingExtra where there is none."""
    found = find_server(experiment)
    if found is None:
        what = "the engine llamacpp, without llama-server (see llama.cpp's releases) on the PATH,"
        raise MissingExtra(what, "llamacpp")
    return found


def weights_file(technique: Technique) -> Path | None:
    """Return the GGUF file that a technique names."""
    named = technique.knobs("gguf")
    return Path(named["value"]).expanduser() if named else None


def _check_weights(technique: Technique, model: Model) -> None:
    file = weights_file(technique)
    if file is None:
        allowed = f"gguf:FILE with the engine llamacpp, which loads nothing else; {CONVERT}"
        raise BadValue("--technique", technique.name, allowed)
    if difference := difference_from(read_head(file), model):
        raise BadValue("technique gguf", str(file), f"a file of {model.name}: {difference}")


def difference_from(head: GgufHead, model: Model) -> str:
    """Say how a file's model differs from the one it is to be measured as; empty if it does not."""
    experts = model.experts
    expected = {
        "embedding_length": model.hidden,
        "expert_count": experts.count if experts else 0,
        "expert_used_count": experts.top_k if experts else 0,
    }
    for key, value in expected.items():
        found = head.of_model(key) or 0
        if found != value:
            return f"its {key} is {found}, that of {model.name} {value}"
    if head.vocab is not None and head.vocab < model.vocab:
        return f"it knows {head.vocab} tokens, {model.name} {model.vocab}"
    return ""


def _check_experts(technique: Technique, model: Model) -> None:
    knobs = technique.knobs("host-experts")
    if knobs is None:
        return
    if model.experts is None:
        raise BadValue("technique host-experts", model.name, "a model with experts")
    if int(knobs.get("layers", "1")) > model.layers:
        allowed = f"1 to {model.layers}, the layers of {model.name}"
        raise BadValue("knob layers of host-experts", knobs["layers"], allowed)


def llamacpp_misfits(setup: Setup) -> tuple[str, ...]:
    """Say why a layout is not served, or why a file does not fit; empty when all is well."""
    return _several(setup.layout) or _too_large(setup)


def _several(layout: Layout | None) -> tuple[str, ...]:
    if layout is None or layout.num_gpus == 1:
        return ()
    return (
        f"the llamacpp engine serves on one device, {layout.name} needs {layout.num_gpus}: how "
        "llama.cpp splits a model over GPUs (--split-mode) stands for no layout here",
    )


def _too_large(setup: Setup) -> tuple[str, ...]:
    """Weights against the memory they go to; where experts stay on the host it is not known."""
    technique = parse_technique(setup.technique)
    file = weights_file(technique)
    if file is None or (setup.hardware != "CPU" and technique.knobs("host-experts") is not None):
        return ()
    weights = read_head(file).size_bytes
    if setup.hardware == "CPU":
        room: float = psutil.virtual_memory().total
    elif setup.hardware in GPUS:
        room = GPUS[setup.hardware].memory_bytes
    else:
        return ()
    if weights <= room:
        return ()
    return (f"{file.name} holds {gib(weights)}, {setup.hardware} has {gib(room)} of memory",)
