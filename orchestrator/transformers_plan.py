"""What the transformers engine may be asked, checked before anything is started or loaded."""

from collections.abc import Mapping

from catalog.errors import BadValue
from catalog.models import Model
from orchestrator.cells import techniques_of
from orchestrator.experiment import Experiment
from orchestrator.hfserver.causal import require_transformers
from orchestrator.hfserver.offload.options import check_offload, options_of
from strategies import Layout
from strategies.technique import Technique


def check_transformers(experiment: Experiment, engine: str, models: Mapping[str, Model]) -> None:
    """Refuse missing libraries, models it cannot decode, and budgets that hold no expert."""
    if engine != "transformers":
        return
    require_transformers()
    for model in models.values():
        if model.kind == "diffusion":
            allowed = "a model that decodes token by token; --engine diffusion serves this one"
            raise BadValue("--engine transformers", model.name, allowed)
        for technique in techniques_of(experiment, engine):
            _check_experts(technique, model)


def _check_experts(technique: Technique, model: Model) -> None:
    knobs = technique.knobs("expert-offload")
    if knobs is not None:
        stored = technique.stored(model)
        dtype = None if stored.expert_dtype == "int8" else stored.expert_dtype
        check_offload(model, options_of(knobs), dtype=dtype)
    elif technique.knobs("int8") is not None and model.experts is None:
        raise BadValue("technique int8", model.name, "a model with experts: it is they it rounds")


def one_device_only(layout: Layout | None) -> tuple[str, ...]:
    """Say why a layout over several GPUs is not served."""
    if layout is None or layout.num_gpus == 1:
        return ()
    return (f"the transformers engine serves on one device, {layout.name} needs several",)
