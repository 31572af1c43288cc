"""What the transformers engine may be asked, checked before anything is started or loaded."""

from itertools import product

from catalog.errors import BadValue
from catalog.models import Model
from orchestrator.engines.kind import Request
from orchestrator.experiment.server_dtypes import requested_dtype
from servers.huggingface.dispatch import options as dispatch
from servers.huggingface.offload.options import budget_of, check_offload
from servers.huggingface.quant import options as quant
from strategies.technique import Technique

NAME = "transformers"


def check_transformers(request: Request) -> None:
    """Refuse budgets and groups of experts that do not fit, and libraries that are missing."""
    dtype = requested_dtype(request.experiment.server.args)
    for model, technique in product(request.models.values(), request.techniques):
        _check_experts(technique, model)
        _check_library(technique, model, dtype=dtype)
    for technique in request.techniques:
        spread = dispatch.options_of(technique)
        if spread is not None:
            spread.require_library()


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
    options.check_widths(quant.widths_of(model), model.name)
    if dtype is None:
        others = tuple(part for part in technique.parts if part.method != options.scheme)
        options.check_dtype(Technique(parts=others).stored(model).weight_dtype)
