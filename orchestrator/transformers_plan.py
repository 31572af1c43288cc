"""What the transformers engine may be asked, checked before anything is started or loaded."""

from collections.abc import Mapping

from catalog.errors import BadValue
from catalog.models import Model
from orchestrator.cells import techniques_of
from orchestrator.experiment import Experiment
from orchestrator.hfserver.causal import require_transformers
from orchestrator.hfserver.offload.options import budget_of, check_offload
from orchestrator.hfserver.quant import options as quant
from orchestrator.told import dtype_told
from strategies import Layout
from strategies.technique import Technique


def check_transformers(experiment: Experiment, engine: str, models: Mapping[str, Model]) -> None:
    """Refuse missing libraries, models it cannot decode, budgets and groups that do not fit."""
    if engine != "transformers":
        return
    require_transformers()
    for model in models.values():
        if model.kind == "diffusion":
            allowed = "a model that decodes token by token; --engine diffusion serves this one"
            raise BadValue("--engine transformers", model.name, allowed)
        for technique in techniques_of(experiment, engine):
            _check_experts(technique, model)
            _check_library(technique, model, dtype=dtype_told(experiment.server.args))


def _check_experts(technique: Technique, model: Model) -> None:
    options = budget_of(technique)
    if options is None:
        return
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
    options.check_widths(quant.widths_of(model), model.name)
    if dtype is None:
        others = tuple(part for part in technique.parts if part.method != options.scheme)
        options.check_dtype(Technique(parts=others).stored(model).weight_dtype)


def one_device_only(layout: Layout | None) -> tuple[str, ...]:
    """Say why a layout over several GPUs is not served."""
    if layout is None or layout.num_gpus == 1:
        return ()
    return (f"the transformers engine serves on one device, {layout.name} needs several",)
