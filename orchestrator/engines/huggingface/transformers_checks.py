"""What the transformers engine may be asked, checked before anything is started or loaded."""

from itertools import product

from catalog.errors import BadValue
from catalog.models import Model
from catalog.units import DTYPE_BYTES, MIB
from orchestrator.engines.kind import Request
from orchestrator.experiment.cells import Setup
from orchestrator.experiment.effective_model import checkpoint_of
from orchestrator.experiment.server_dtypes import requested_dtype, requested_model
from servers.huggingface.dispatch import options as dispatch
from servers.huggingface.offload.options import budget_of, check_offload
from servers.huggingface.pruning import options as pruning
from servers.huggingface.quant import options as quant
from strategies.technique import Technique
from workloads.quality.windows import read_text

NAME = "transformers"


def check_transformers(request: Request) -> None:
    """Refuse budgets and groups of experts that do not fit, and libraries that are missing."""
    dtype = requested_dtype(request.experiment.server.args)
    for model, technique in product(request.models.values(), request.techniques):
        _check_experts(technique, model)
        _check_library(technique, model, dtype=dtype)
        _check_pruning(technique, model)
    for setup in request.setups:
        _check_spread(setup, request.models[setup.model])


def _check_spread(setup: Setup, model: Model) -> None:
    """Refuse a missing library, a GPU's budget on a CPU, and one below a layer's experts."""
    spread = dispatch.options_of(setup.technique)
    if spread is None:
        return
    spread.require_library()
    on_cpu = setup.hardware == "CPU"
    if on_cpu and spread.gpu_bytes is not None:
        allowed = "cpu=SIZE alone on a CPU: its memory is the device's, the rest is on disk"
        raise BadValue("knob gpu of accelerate-offload", setup.technique.name, allowed)
    most = spread.cpu_bytes if on_cpu else spread.gpu_bytes
    held = requested_model(setup.technique, checkpoint_of(setup, model), setup.server_args)
    if most is None or held is None or not held.sized or held.experts is None:
        return
    stored = held.expert_dtype or held.weight_dtype
    layer = held.experts.count * held.experts.params_per_expert(held.hidden) * DTYPE_BYTES[stored]
    if layer > most:
        raise BadValue(
            f"knob {'cpu' if on_cpu else 'gpu'} of accelerate-offload",
            f"{most / MIB:.4g} MiB",
            f"{layer / MIB:.4g} MiB or more: the experts of a layer are brought in at once",
        )


def _check_experts(technique: Technique, model: Model) -> None:
    options = budget_of(technique)
    if options is None:
        return
    if not model.sized:
        raise BadValue(
            f"technique {technique.name}", model.name, f"a model that is counted: {model.notes[0]}"
        )
    if technique.knobs("expert-offload") is None and model.experts is None:
        raise BadValue("technique int8", model.name, "a model with experts: it is they it rounds")
    check_offload(technique.stored(model), options)


def _check_library(technique: Technique, model: Model, *, dtype: str | None) -> None:
    """Refuse a missing library, and what does not suit the model; the server checks a variant."""
    options = quant.options_of(technique)
    if options is None:
        return
    options.require_library()
    if technique.checkpoint is not None:
        return
    if not model.sized:
        return
    options.check_widths(quant.widths_of(technique.stored(model)), model.name)
    if dtype is None:
        others = tuple(part for part in technique.parts if part.method != options.scheme)
        options.check_dtype(Technique(parts=others).stored(model).weight_dtype)


def _check_pruning(technique: Technique, model: Model) -> None:
    """Refuse a share that the model cannot lose, and a text that is missing."""
    options = pruning.options_of(technique)
    if options is None:
        return
    if technique.checkpoint is None:
        technique.stored(model)
    if options.text is not None and not read_text(options.text).strip():
        raise BadValue("text to prune by", options.text, "a text: this file is empty")
