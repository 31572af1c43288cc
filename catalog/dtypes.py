"""Floating-point types as servers name them, and a model held in one."""

from catalog.hardware import Gpu
from catalog.models import Model

FLOATS = {
    "float32": "float32",
    "float": "float32",
    "bfloat16": "bfloat16",
    "float16": "float16",
    "half": "float16",
}


def as_served(model: Model, gpu: Gpu | None) -> Model:
    """Return the model as vLLM holds it on a GPU unless told otherwise: float32 in 16 bits.

    bfloat16, or float16 on a GPU without it (vLLM's `--dtype auto`).
    """
    if model.weight_dtype != "float32":
        return model
    narrow = "float16" if gpu is not None and "bfloat16" not in gpu.flops_per_s else "bfloat16"
    return with_dtype(model, narrow) or model


def with_dtype(model: Model, dtype: str | None) -> Model | None:
    """Return the model with what is not quantised in this type; None where it is unknown."""
    if dtype is None or dtype == "auto":
        return model
    if dtype not in FLOATS:
        return None
    before = (model.weight_dtype, model.expert_dtype)
    weights, experts = (FLOATS[dtype] if held in FLOATS else held for held in before)
    return model if (weights, experts) == before else model.held_in(weights, experts)
