"""Data types as a server's own arguments ask for them: the user's come last and win."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

import msgspec

from catalog.errors import BadValue
from catalog.models import Model
from strategies.technique import Technique

FLOATS = {
    "float32": "float32",
    "float": "float32",
    "bfloat16": "bfloat16",
    "float16": "float16",
    "half": "float16",
}
QUANTISED = {
    "fp8": {"weight_dtype": "fp8", "expert_dtype": "fp8"},
    "experts_int8": {"expert_dtype": "int8"},
}
"""What vLLM makes of a checkpoint that is not quantised."""
SET_DTYPE, SET_QUANTIZATION = ("fp32", "bf16", "fp16"), ("fp8", "int8")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadValue("--server-arg", message, "--dtype=float16, --quantization=fp8")


def held_as_told(
    technique: Technique, checkpoint: Model, args: Sequence[str], *, engine: str
) -> Model | None:
    """Return the model in the types it will be held in; None where they are not known.

    What the arguments set, the technique sets no longer; a checkpoint that is quantised stays so.
    """
    dtype, quantization = _told(args)
    overridden = (*(SET_DTYPE if dtype else ()), *(SET_QUANTIZATION if quantization else ()))
    left = Technique(parts=tuple(p for p in technique.parts if p.method not in overridden))
    model = with_dtype(checkpoint, dtype)
    if model is None:
        return None
    model = left.stored(model)
    if quantization is None or engine != "vllm" or model.weight_dtype not in FLOATS:
        return model
    if quantization not in QUANTISED:
        return None
    return msgspec.structs.replace(model, **QUANTISED[quantization])


def with_dtype(model: Model, dtype: str | None) -> Model | None:
    """Return the model with what is not quantised in this type; None where it is unknown."""
    if dtype is None or dtype == "auto":
        return model
    if dtype not in FLOATS:
        return None
    weights, experts = (
        FLOATS[dtype] if held in FLOATS else held
        for held in (model.weight_dtype, model.expert_dtype)
    )
    assert weights is not None
    return msgspec.structs.replace(model, weight_dtype=weights, expert_dtype=experts)


def dtype_told(args: Sequence[str]) -> str | None:
    """Return the last `--dtype`, as the server will read it."""
    return _told(args)[0]


def _told(args: Sequence[str]) -> tuple[str | None, str | None]:
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--dtype")
    parser.add_argument("--quantization", "-q")
    known, _ = parser.parse_known_args(list(args))
    return known.dtype, known.quantization
