"""What the llama.cpp engine may be asked, checked before anything is started or loaded."""

import importlib.util
import shutil
from itertools import product
from pathlib import Path

import psutil

from catalog.errors import BadValue, MissingExtra
from catalog.models import Model
from catalog.python import python_module
from catalog.units import gib
from orchestrator.engines.kind import Request
from orchestrator.engines.llamacpp.gguf import GgufHead, read_head
from orchestrator.experiment.cells import Setup
from orchestrator.experiment.experiment import Experiment
from strategies.technique import Technique

NAME = "llamacpp"
OWN_SERVER = tuple(python_module("orchestrator.engines.llamacpp.server"))
CONVERT = "llama.cpp's convert_hf_to_gguf.py and llama-quantize make one"


def check_llamacpp(request: Request) -> None:
    """Refuse weights that are not named or not the model's, and experts that it does not have."""
    weights = request.experiment.server.weights
    if weights != "checkpoint":
        raise BadValue("weights", weights, "checkpoint, with --engine llamacpp")
    for model, technique in product(request.models.values(), request.techniques):
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
    expected = (
        {}
        if model.counted == "no"
        else {
            "embedding_length": model.hidden,
            "expert_count": experts.count if experts else 0,
            "expert_used_count": experts.top_k if experts else 0,
        }
    )
    for key, value in expected.items():
        found = head.of_model(key) or 0
        if found != value:
            return f"its {key} is {found}, that of {model.name} {value}"
    if expected and head.layers not in (None, model.layers):
        return f"it has {head.layers} layers, {model.name} {model.layers}"
    if head.vocab is not None and head.vocab < model.vocab:
        return f"it knows {head.vocab} tokens, {model.name} {model.vocab}"
    return ""


def _check_experts(technique: Technique, model: Model) -> None:
    knobs = technique.knobs("host-experts")
    if knobs is None or model.counted == "no":
        return
    if model.experts is None:
        raise BadValue("technique host-experts", model.name, "a model with experts")
    if int(knobs.get("layers", "1")) > model.layers:
        allowed = f"1 to {model.layers}, the layers of {model.name}"
        raise BadValue("knob layers of host-experts", knobs["layers"], allowed)


def violations(setup: Setup, _model: Model, _longest: int) -> tuple[str, ...]:
    """Weights against the memory they go to; where experts stay on the host it is not known."""
    technique = setup.technique
    file = weights_file(technique)
    if file is None or (setup.hardware != "CPU" and technique.knobs("host-experts") is not None):
        return ()
    weights = read_head(file).size_bytes
    if setup.hardware == "CPU":
        room: float = psutil.virtual_memory().total
    elif setup.gpu is not None:
        room = setup.gpu.memory_bytes
    else:
        return ()
    if weights <= room:
        return ()
    return (f"{file.name} holds {gib(weights)}, {setup.hardware} has {gib(room)} of memory",)
