"""GPUs and the links between them."""

import msgspec

from catalog.errors import BadValue


class Link(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fabric as one GPU sees it: the α–β model's two constants."""

    name: str
    bandwidth_bytes_per_s: float
    """Per GPU and direction."""
    latency_s: float


NO_LINK = Link(name="none", bandwidth_bytes_per_s=float("inf"), latency_s=0.0)
"""Of a GPU with itself."""

# The units that weights stored so are multiplied in, where a GPU has them; all others in 16 bits.
# A kernel widens integers of 4 bits and fewer and MXFP4 to the 16 bits of activations, and on a GPU
# without such units fp8 and NVFP4 too (vLLM's Marlin kernels: weights alone are compressed).
_USUAL_UNITS = {
    "float32": "float32",
    "float16": "float16",
    "fp8": "fp8",
    "int8": "int8",
    "nvfp4": "fp4",
}
# What some kernel may use: activations of 8 bits, or of 4, are a server's choice.
_FASTEST_UNITS = {
    "nvfp4": ("fp4", "fp8", "int8"),
    "mxfp4": ("fp4", "fp8", "int8"),
    "int4": ("int4", "fp8", "int8"),
    "int3": ("int4", "fp8", "int8"),
    "int2": ("int4", "fp8", "int8"),
}


class Gpu(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One accelerator as sold: peak figures, dense (no sparsity). What is not known is None."""

    name: str
    memory_bytes: float
    """What the driver lets a process address, which differs from the size on the box."""
    bandwidth_bytes_per_s: float
    flops_per_s: dict[str, float]
    """Peak FLOP/s by data type: one of bfloat16 and float16 at least."""
    intra_node: Link | None
    inter_node: Link | None
    per_node: int
    price_per_hour_usd: float | None
    source: str
    price_source: str = ""
    island: int | None = None
    """GPUs that `intra_node` joins, where that is not a node: a bridged pair, a rack."""
    host_link_bytes_per_s: float | None = None
    """To and from the host's memory, per GPU and direction."""
    host_memory_bytes_per_s: float | None = None
    disk_bytes_per_s: float | None = None
    aliases: tuple[str, ...] = ()
    """Other names that people type."""
    driver_names: tuple[str, ...] = ()
    """As NVML or ROCm name it, in full."""
    file: str = ""
    """Where its user keeps it; empty for a row of this catalog."""

    def __hash__(self) -> int:
        return hash(self.name)  # names are unique: a user's own ends in a hash of its numbers

    def computing_dtype(self, stored: str) -> str:
        """Return the data type that weights stored so are multiplied in, one of `flops_per_s`."""
        sixteen_bit = "bfloat16" if "bfloat16" in self.flops_per_s else "float16"
        units = _USUAL_UNITS.get(stored, sixteen_bit)
        return units if units in self.flops_per_s else sixteen_bit

    def peak_flops_per_s(self, stored: str) -> float:
        """Peak of the type that weights stored so are multiplied in."""
        return self.flops_per_s[self.computing_dtype(stored)]

    def most_flops_per_s(self, stored: str) -> float:
        """A rate that no run can beat: unlimited where a user's row leaves this type out."""
        peaks = self.flops_per_s
        units = _FASTEST_UNITS.get(stored, (stored,))
        if units[0] not in peaks and self.file and stored not in ("bfloat16", "float16"):
            return float("inf")
        # A server may hold float32 weights in 16 bits: vLLM does unless told otherwise.
        sixteen_bit = self.peak_flops_per_s("bfloat16")
        known = (peaks[each] for each in units if each in peaks)
        return max(self.peak_flops_per_s(stored), sixteen_bit, *known)

    def link(self, span: int) -> Link:
        """Return the slowest link of a group that `span` consecutive GPUs hold.

        BadValue where nobody has told its bandwidth.
        """
        if span <= 1:
            return self.intra_node or NO_LINK
        inside = span <= (self.island or self.per_node)
        found = self.intra_node if inside else self.inter_node
        if found is None:
            end = "inter_node" if self.intra_node and not inside else "intra_node"
            allowed = f"the bandwidth that joins {span} of them: its row leaves it out"
            raise BadValue(f"{end}_bytes_per_s of {self.name}", None, allowed)
        return found
