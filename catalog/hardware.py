"""GPUs and the links between them."""

import msgspec


class Link(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fabric as one GPU sees it: the α–β model's two constants."""

    name: str
    bandwidth_bytes_per_s: float
    """Per GPU and direction."""
    latency_s: float


class Gpu(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One accelerator as sold: peak figures, dense (no sparsity)."""

    name: str
    memory_bytes: float
    """What the driver lets a process address, which differs from the size on the box."""
    bandwidth_bytes_per_s: float
    flops_per_s: dict[str, float]
    """Peak FLOP/s by data type."""
    intra_node: Link
    inter_node: Link
    per_node: int
    price_per_hour_usd: float | None
    source: str
    price_source: str = ""

    def peak_flops_per_s(self, dtype: str) -> float:
        """Peak of a data type; one without units of its own computes at bfloat16's rate."""
        return self.flops_per_s.get(dtype, self.flops_per_s["bfloat16"])
