"""Experts packed for moving: one contiguous row each, in full precision or as int8 with scales."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, dtype

INT8_MOST = 127


@dataclass(frozen=True, slots=True)
class PackedExperts:
    """Experts of one size: rows of 3 H I weights, and of 2I + H scales where they are int8."""

    weights: "Tensor"
    scales: "Tensor | None"
    hidden: int
    width: int
    dtype: "dtype"
    """What they are computed in."""

    @property
    def count(self) -> int:
        return int(self.weights.shape[0])

    @property
    def expert_bytes(self) -> int:
        scales = 0 if self.scales is None else self.scales[0].nbytes
        return int(self.weights[0].nbytes + scales)

    @property
    def nbytes(self) -> int:
        return self.expert_bytes * self.count

    def matrices(self, row: int) -> tuple["Tensor", "Tensor"]:
        """Return gate and up (2I, H) and down (H, I) of one expert, ready to multiply with."""
        upper = 2 * self.width * self.hidden
        gate_up = self.weights[row, :upper].view(2 * self.width, self.hidden)
        down = self.weights[row, upper:].view(self.hidden, self.width)
        if self.scales is None:
            return gate_up, down
        scales = self.scales[row].to(self.dtype)[:, None]
        return (
            gate_up.to(self.dtype) * scales[: 2 * self.width],
            down.to(self.dtype) * scales[2 * self.width :],
        )

    def fetch(self, row: int, source: "PackedExperts", source_row: int) -> int:
        """Copy an expert from another store into a row; return the bytes moved."""
        self.weights[row].copy_(source.weights[source_row], non_blocking=True)
        if self.scales is not None and source.scales is not None:
            self.scales[row].copy_(source.scales[source_row], non_blocking=True)
        return self.expert_bytes

    def empty(self, count: int, device: str) -> "PackedExperts":
        """Make a store of the same kind with room for so many experts."""
        import torch

        weights = torch.empty(count, self.weights.shape[1], dtype=self.weights.dtype, device=device)
        scales = None
        if self.scales is not None:
            scales = torch.empty(count, self.scales.shape[1], device=device)
        return PackedExperts(weights, scales, self.hidden, self.width, self.dtype)


def pack(gate_up: "Tensor", down: "Tensor", *, int8: bool, pinned: bool) -> PackedExperts:
    """Pack a layer's stacked experts (E, 2I, H) and (E, H, I) in host memory."""
    import torch

    count, hidden, width = down.shape
    dtype, scales = down.dtype, None
    if int8:
        (gate_up, upper), (down, lower) = quantised(gate_up), quantised(down)
        scales = torch.cat([upper, lower], dim=1)
    weights = torch.cat([gate_up.reshape(count, -1), down.reshape(count, -1)], dim=1)
    if pinned:
        weights = weights.pin_memory()
        scales = None if scales is None else scales.pin_memory()
    return PackedExperts(weights, scales, hidden, width, dtype)


def quantised(weights: "Tensor") -> tuple["Tensor", "Tensor"]:
    """Round to int8, symmetric, one scale a row: w ~ q s, s = max |w| / 127 (LLM.int8's absmax)."""
    import torch

    scales = weights.abs().amax(dim=-1).float().clamp_min(torch.finfo(torch.float32).tiny)
    scales = scales / INT8_MOST
    rounded = (weights.float() / scales[..., None]).round().clamp(-INT8_MOST, INT8_MOST)
    return rounded.to(torch.int8), scales
