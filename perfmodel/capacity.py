"""Admissible batches of an MoE model and its quality-matched dense twin on one cluster (eq. 20)."""

import math
from dataclasses import dataclass

import msgspec

from catalog.errors import BadValue
from catalog.models import Model
from catalog.units import DTYPE_BYTES


class ClusterSplit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a cluster is divided, every convention open: the paper's text does not fix them."""

    gpus: int
    memory_bytes: float
    usable_fraction: float = 0.9
    tp: int = 8
    ep: int | None = None
    """Ways experts are spread beside tp; None is the rest of the cluster, 1 is none."""
    weight_dtype: str = "fp8"
    kv_dtype: str = "bfloat16"

    def __post_init__(self) -> None:
        if self.gpus < 1:
            raise BadValue("gpus", self.gpus, "1 or more")
        if self.tp < 1 or self.gpus % self.tp:
            raise BadValue("tp", self.tp, f"a divisor of the {self.gpus} GPUs")
        for name in ("weight_dtype", "kv_dtype"):
            if getattr(self, name) not in DTYPE_BYTES:
                raise BadValue(name, getattr(self, name), ", ".join(DTYPE_BYTES))
        if not 0 < self.usable_fraction <= 1:
            raise BadValue("usable fraction of memory", self.usable_fraction, "over 0, up to 1")
        if self.ep is not None and not 1 <= self.ep <= self.gpus // self.tp:
            raise BadValue("ep", self.ep, f"1 to {self.gpus // self.tp}: GPUs over tp")

    @property
    def kvp(self) -> int:
        """Ways a sequence's cache is split by position: the rest of the cluster."""
        return self.gpus // self.tp

    @property
    def weight_ways(self) -> int:
        return self.tp * (self.kvp if self.ep is None else self.ep)

    def kv_ways(self, model: Model) -> int:
        """KVP · min(TP, H_kv): heads cannot be split further, MLA's single latent not at all."""
        return self.kvp * min(self.tp, model.attention.kv_heads)

    @property
    def text(self) -> str:
        return (
            f"{self.usable_fraction:.0%} of {self.memory_bytes / 1e9:.0f} GB usable on each of "
            f"{self.gpus} GPUs; {self.weight_dtype} weights split {self.weight_ways} ways; "
            f"{self.kv_dtype} cache split by tp = {self.tp} (as far as KV heads go) and "
            f"kvp = {self.kvp}"
        )


def weight_bytes_per_gpu(total_params: float, split: ClusterSplit) -> float:
    return total_params * DTYPE_BYTES[split.weight_dtype] / split.weight_ways


def kv_bytes_per_gpu(model: Model, context: int, split: ClusterSplit) -> float:
    """One sequence's cache on one GPU, windowed layers up to their window, states whole."""
    element, total = DTYPE_BYTES[split.kv_dtype], 0.0
    for count, mixer in model.mixers:
        held = context if mixer.window is None else min(context, mixer.window)
        ways = min(split.tp, mixer.ways)
        total += count * mixer.kv_elements * held * element / (split.kvp * ways)
        total += count * mixer.index_bytes * context / split.kvp
        total += count * mixer.state_elements * element / ways
    return total


def largest_batch(model: Model, total_params: float, *, context: int, split: ClusterSplit) -> int:
    """⌊(C − M_w) / M_KV(L)⌋ for `total_params` of weights and this model's cache, at least 0."""
    left = split.memory_bytes * split.usable_fraction - weight_bytes_per_gpu(total_params, split)
    return max(0, math.floor(left / kv_bytes_per_gpu(model, context, split)))


@dataclass(frozen=True, slots=True)
class CalibratedCapacity:
    """Cache capacity T(P) = T0 − β P, fitted to the paper's printed batches: B = ⌊T(P) / L⌋.

    A fit, not a derivation: no one set of conventions gives all the printed batches.
    """

    model: str
    gpus: int
    base_tokens: float
    tokens_per_billion_params: float

    def tokens(self, billion_params: float) -> float:
        return self.base_tokens - self.tokens_per_billion_params * billion_params

    def largest_batch(self, billion_params: float, *, context: int) -> int:
        return max(0, math.floor(self.tokens(billion_params) / context))


# Two numbers a row, from the two printed batches of tables 3 and 4 (Grok: three dense ones).
CALIBRATED = (
    CalibratedCapacity("DeepSeek-V3", 64, 35.6384e6, 5270.5),
    CalibratedCapacity("DeepSeek-V3", 32, 17.8337e6, 6946.8),
    CalibratedCapacity("Qwen3-235B-A22B", 64, 11.9013e6, 2346.2),
    CalibratedCapacity("Grok-1", 64, 24.6153e6, 24490.8),
)

PRINTED = {
    "usable_fraction": 0.9, "tp": 8, "ep": None, "weight_dtype": "fp8", "kv_dtype": "bfloat16",
}  # fmt: skip
"""The conventions beside which those batches stand."""


def calibrated_capacity(model: str, split: ClusterSplit) -> CalibratedCapacity | None:
    """Return the fit of a model on so many GPUs, split as the paper's; None for any other split.

    It holds for fp8 weights, a 16-bit cache and tp 8: a fit knows nothing of other conventions.
    """
    if any(getattr(split, name) != value for name, value in PRINTED.items()):
        return None
    matches = (each for each in CALIBRATED if (each.model, each.gpus) == (model, split.gpus))
    return next(matches, None)
