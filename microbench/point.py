"""One shape of the expert MLP, and what a decode step of it reads and computes."""

import msgspec

from catalog.errors import BadValue, UnknownName
from catalog.units import DTYPE_BYTES

DTYPES = ("float32", "bfloat16", "float16")
ALIASES = {
    "fp32": "float32", "f32": "float32", "float": "float32", "bf16": "bfloat16",
    "fp16": "float16", "f16": "float16", "half": "float16",
}  # fmt: skip
MATRICES = 3
"""Gate, up and down: SwiGLU experts, as in every model of the paper's table 1."""
LARGEST = 2**20


class Point(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A batch of one token a sequence, routed to `top_k` of `active_experts` of `experts`."""

    batch: int
    hidden: int
    intermediate: int
    experts: int
    active_experts: int
    top_k: int
    dtype: str

    def __post_init__(self) -> None:
        for name in SIZES:
            if not 1 <= getattr(self, name) <= LARGEST:
                raise BadValue(name, getattr(self, name), f"1 to {LARGEST:,}")
        if self.active_experts > self.experts:
            raise BadValue(
                "active experts", self.active_experts, f"up to the {self.experts} experts there are"
            )
        if self.top_k > self.active_experts:
            allowed = f"up to the {self.active_experts} active experts: a token's are distinct"
            raise BadValue("top-k", self.top_k, allowed)
        if self.dtype not in DTYPES:
            raise UnknownName("dtype", self.dtype, DTYPES)

    @property
    def pairs(self) -> int:
        """Token-expert pairs of the step."""
        return self.batch * self.top_k

    @property
    def reachable(self) -> bool:
        """Whether the batch has a token for every active expert."""
        return self.pairs >= self.active_experts

    @property
    def expert_params(self) -> int:
        return MATRICES * self.hidden * self.intermediate

    @property
    def expert_bytes(self) -> int:
        return int(self.expert_params * DTYPE_BYTES[self.dtype])

    @property
    def flops(self) -> int:
        """Two operations a weight and pair; the activation's are not counted."""
        return 2 * self.expert_params * self.pairs

    def weight_bytes(self, touched: int) -> int:
        """Bytes of the experts that have a token, each read once."""
        return touched * self.expert_bytes


SIZES = ("batch", "hidden", "intermediate", "experts", "active_experts", "top_k")


def dtype_of(name: str) -> str:
    """Read a data type's name, short forms included."""
    plain = name.strip().lower().removeprefix("torch.")
    found = ALIASES.get(plain, plain)
    if found not in DTYPES:
        raise UnknownName("dtype", name, [*DTYPES, *ALIASES])
    return found
