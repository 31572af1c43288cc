"""Data types as a server's own arguments ask for them: the user's come last and win."""

from collections.abc import Mapping, Sequence

from catalog.dtypes import FLOATS, with_dtype
from catalog.models import Model
from orchestrator.experiment.server_args import last_values
from strategies.technique import Technique

Quantised = Mapping[str, Mapping[str, str]]
"""Data types by the value of `--quantization`."""
SET_DTYPE, SET_QUANTIZATION = ("fp32", "bf16", "fp16"), ("fp8", "int8")


def requested_model(
    technique: Technique,
    checkpoint: Model,
    args: Sequence[str],
    *,
    quantised: Quantised | None = None,
) -> Model | None:
    """Return the model in the types it will be held in; None where they are not known.

    What the arguments set, the technique sets no longer; a checkpoint that is quantised stays so.
    `quantised` says what the server makes of any other; None if it reads no `--quantization`.
    """
    dtype, quantization = _requested(args)
    overridden = (*(SET_DTYPE if dtype else ()), *(SET_QUANTIZATION if quantization else ()))
    left = Technique(parts=tuple(p for p in technique.parts if p.method not in overridden))
    model = with_dtype(checkpoint, dtype)
    if model is None:
        return None
    model = left.stored(model)
    if quantization is None or quantised is None or model.weight_dtype not in FLOATS:
        return model
    if quantization not in quantised:
        return None
    told = quantised[quantization]
    return model.held_in(told.get("weight_dtype"), told.get("expert_dtype"))


def requested_dtype(args: Sequence[str]) -> str | None:
    """Return the last `--dtype`, as the server will read it."""
    return _requested(args)[0]


def _requested(args: Sequence[str]) -> tuple[str | None, str | None]:
    dtype, quantization = last_values(
        args,
        ("--dtype",),
        ("--quantization", "-q"),
        example="--dtype=float16, --quantization=fp8",
    )
    return dtype, quantization
