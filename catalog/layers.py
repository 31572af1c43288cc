"""What the layers of a model are made of: attention or state, feed-forward parts, experts."""

import msgspec

from catalog.attention import Mixer


class Experts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The routed feed-forward part of a model's MoE layers."""

    count: int
    top_k: int
    width: int
    layers: int
    """Layers that hold experts; the model's other layers have a dense feed-forward part."""
    shared_width: int = 0
    """Width of the part every token uses, all shared experts together; 0 without one."""
    shared_gate: bool = False
    """A sigmoid gate weighs the shared part (Qwen1.5-MoE)."""
    matrices: int = 3
    """3 with a gate (SwiGLU, GeGLU), 2 without (Switch)."""
    bias: bool = False
    router_bias: bool = False
    """One number an expert: a bias (gpt-oss) or DeepSeek-V3's load-balancing correction."""
    space: int | None = None
    """Width of the space that routed experts live in where it is not the model's own: two
    projections of each layer lead there and back (Nemotron 3 Super)."""
    router_small: int = 0
    """Norms and scales of one layer's router and experts (Gemma 4)."""

    @property
    def active_fraction(self) -> float:
        """s = k / E of the qs inequality (eq. 9)."""
        return self.top_k / self.count

    def params_per_expert(self, hidden: int) -> int:
        space = self.space or hidden
        bias = (self.matrices - 1) * self.width + space if self.bias else 0
        return self.matrices * space * self.width + bias

    def shared_params(self, hidden: int) -> int:
        """Shared experts, their gate, the router and the way to the experts' space of one layer."""
        shared = self.matrices * hidden * self.shared_width + (hidden if self.shared_gate else 0)
        router = hidden * self.count + (self.count if self.router_bias else 0)
        way = 2 * hidden * self.space if self.space else 0
        return shared + router + way + self.router_small


class Dense(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A feed-forward part that every token of a layer uses."""

    width: int
    matrices: int = 3
    """3 with a gate (SwiGLU, GeGLU), 2 without."""
    bias: bool = False

    def params(self, hidden: int) -> int:
        bias = (self.matrices - 1) * self.width + hidden if self.bias else 0
        return self.matrices * hidden * self.width + bias


class Block(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run of equal layers."""

    count: int
    mixers: tuple[Mixer, ...]
    """Side by side where there are several (Falcon-H1); none where a layer only feeds forward."""
    dense: tuple[Dense, ...] = ()
    routed: bool = False
    """The layer holds the model's routed experts, their router and their shared part."""
    other: int = 0
    """Norms and other small parameters of one layer."""


class Stored(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bytes of each part of a model as its checkpoint holds them, scales counted."""

    embedding: float
    """Input tables that are not the head's."""
    head: float
    attention: float
    """Of whatever kind, with norms and what is in no other part."""
    dense: float
    """Dense feed-forward parts, shared experts and routers."""
    experts: float
    """All routed ones."""

    @property
    def total(self) -> float:
        return self.embedding + self.head + self.attention + self.dense + self.experts
