"""What a model is made of, and the counts that follow from it: a model is its layers."""

from itertools import pairwise
from typing import Literal

import msgspec

from catalog.attention import (
    Attention,
    FixedState,
    GroupedQueryAttention,
    LatentAttention,
    Mixer,
)
from catalog.indexers import Indexer
from catalog.layers import Block, Dense, Experts, Stored
from catalog.units import DTYPE_BYTES

__all__ = [
    "Attention",
    "Block",
    "Dense",
    "Experts",
    "FixedState",
    "GroupedQueryAttention",
    "Indexer",
    "LatentAttention",
    "Mixer",
    "Model",
    "Stored",
]

Kind = Literal["autoregressive", "diffusion"]
Counted = Literal["exact", "generic", "no"]
UNKNOWN_DTYPE = "unknown"
"""Of weights whose bytes a config does not tell in words that are known here."""
FLOATS = ("float32", "bfloat16", "float16")


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One architecture. Sizes are counts of elements; bytes need a data type.

    `attention`, `experts`, `dense_width` describe a model of equal layers, some with experts and
    some without. Where layers differ in more than that, `blocks` lists them, and those fields
    describe the layers that see the whole context, the routed part, and the widest dense part.
    """

    name: str
    hf_id: str | None
    layers: int
    hidden: int
    vocab: int
    attention: Attention
    experts: Experts | None
    dense_width: int
    """Width of the feed-forward part of layers without experts; 0 when there are none."""
    dense_matrices: int = 3
    """Of that part: 3 with a gate, 2 without."""
    blocks: tuple[Block, ...] = ()
    """The layers in their order; empty where the fields above say it all."""
    tied_embeddings: bool
    max_context: int
    """Tokens of its longest sequence; 0 where its config does not tell."""
    norms_per_layer: int = 2
    lookup_params: int = 0
    """Tables that are looked up and never multiplied, beside the embedding (Gemma 3n)."""
    extra_params: int = 0
    """Parameters outside this scheme (Switch-C's cross-attention and relative positions)."""
    kind: Kind = "autoregressive"
    weight_dtype: str = "bfloat16"
    """Data type of most published weights; expert weights of gpt-oss are mxfp4."""
    expert_dtype: str | None = None
    kv_dtype: str | None = None
    """What its checkpoint has vLLM keep the cache in; None is the computing type."""
    integer_activations: bool = False
    """8-bit integer weights meet activations of 8 bits; else they are widened to 16."""
    stored: Stored | None = None
    """What the checkpoint's own quantisation leaves of each part; None where the types say it."""
    counted: Counted = "exact"
    """Generic: read by the keys that most families share; no code of the family was compared.
    No: its sizes mean nothing, and only vocabulary and context are what the config says."""
    notes: tuple[str, ...] = ()
    """What a reader of the counts should know."""
    unread: tuple[str, ...] = ()
    """Keys of its config that were not understood, where it is not counted for them."""
    source: str = ""
    """Where the figures come from."""

    @property
    def sized(self) -> bool:
        """Whether parameters and the bytes they take are known: what estimates need."""
        return self.counted != "no" and self.weight_dtype != UNKNOWN_DTYPE

    @property
    def stack(self) -> tuple[Block, ...]:
        """The layers as runs of equal ones, whichever way they were given."""
        return self.blocks or _equal_layers(self)

    @property
    def mixers(self) -> tuple[tuple[int, Mixer], ...]:
        """Every kind of attention or state with the number of layers that have it."""
        return tuple((block.count, mixer) for block in self.stack for mixer in block.mixers)

    @property
    def window(self) -> int | None:
        """Tokens after which the cache of windowed layers stops growing; None without such."""
        return max((mixer.window for _, mixer in self.mixers if mixer.window), default=None)

    @property
    def reach(self) -> int | None:
        """Tokens that a layer which does not read its whole context reads: window or top-k."""
        return max((mixer.reach for _, mixer in self.mixers if mixer.reach), default=None)

    @property
    def dense_layers(self) -> int:
        """Layers whose feed-forward part is dense and nothing else."""
        if self.blocks:
            return sum(each.count for each in self.blocks if each.dense and not each.routed)
        return self.layers - (self.experts.layers if self.experts else 0)

    @property
    def embedding_params(self) -> int:
        ends = self.vocab * self.hidden * (1 if self.tied_embeddings else 2)
        return ends + self.lookup_params

    @property
    def attention_params(self) -> int:
        """Attention, state and layer norms of all layers, with the final norm."""
        inside = sum(count * mixer.params(self.hidden) for count, mixer in self.mixers)
        return inside + sum(each.count * each.other for each in self.stack) + self.hidden

    @property
    def dense_ffn_params(self) -> int:
        return sum(
            each.count * part.params(self.hidden) for each in self.stack for part in each.dense
        )

    @property
    def shared_expert_params(self) -> int:
        """Shared experts and routers of all MoE layers."""
        return self.experts.layers * self.experts.shared_params(self.hidden) if self.experts else 0

    @property
    def expert_params(self) -> int:
        """All routed experts of all MoE layers."""
        if self.experts is None:
            return 0
        return (
            self.experts.layers * self.experts.count * self.experts.params_per_expert(self.hidden)
        )

    @property
    def total_params(self) -> int:
        return (
            self.embedding_params
            + self.attention_params
            + self.dense_ffn_params
            + self.shared_expert_params
            + self.expert_params
            + self.extra_params
        )

    @property
    def active_params(self) -> int:
        """Parameters one token uses: everything but the experts it is not routed to."""
        if self.experts is None:
            return self.total_params
        idle = self.expert_params * (self.experts.count - self.experts.top_k) // self.experts.count
        return self.total_params - idle

    @property
    def kv_elements_per_token(self) -> int:
        """Cache elements one more token of context adds over all layers, windows unfilled."""
        return sum(count * mixer.kv_elements for count, mixer in self.mixers)

    @property
    def state_elements(self) -> int:
        """Elements of state of one sequence that do not grow with it."""
        return sum(count * mixer.state_elements for count, mixer in self.mixers)

    def cache_bytes(self, context: int, *, element_bytes: float | None = None) -> float:
        """Bytes one sequence of `context` tokens keeps: cache, index keys, fixed state.

        Without the size of an element, the cache is as its checkpoint asks, a state in 16 bits.
        """
        total = self.state_elements * (element_bytes or DTYPE_BYTES["bfloat16"])
        element_bytes = element_bytes or DTYPE_BYTES[self.kv_dtype or "bfloat16"]
        for count, mixer in self.mixers:
            held = context if mixer.window is None else min(context, mixer.window)
            total += count * mixer.kv_elements * held * element_bytes
            total += count * mixer.index_bytes * context
        return total

    @property
    def held(self) -> Stored:
        """Bytes of each part: as the checkpoint stores them, else by the data types.

        A type that is not a float is that of projections: embedding and head stay in 16 bits.
        """
        if self.stored is not None:
            return self.stored
        element = DTYPE_BYTES[self.weight_dtype]
        table = element if self.weight_dtype in FLOATS else DTYPE_BYTES["bfloat16"]
        head = self.vocab * self.hidden
        return Stored(
            embedding=(self.embedding_params - head) * table,
            head=head * table,
            attention=(self.attention_params + self.extra_params) * element,
            dense=(self.dense_ffn_params + self.shared_expert_params) * element,
            experts=self.expert_params * DTYPE_BYTES[self.expert_dtype or self.weight_dtype],
        )

    def held_in(self, weight_dtype: str | None, expert_dtype: str | None) -> "Model":
        """Return the model stored in other types; None keeps what it has, as not to know does."""
        if not self.sized:
            return self
        weights, experts = weight_dtype or self.weight_dtype, expert_dtype or self.expert_dtype
        sizes = [DTYPE_BYTES.get(str(each)) for each in (weights, experts)]
        before = [DTYPE_BYTES.get(str(each)) for each in (self.weight_dtype, self.expert_dtype)]
        return msgspec.structs.replace(
            self,
            weight_dtype=weights,
            expert_dtype=experts,
            stored=self.stored if sizes == before else None,
        )


def _equal_layers(model: Model) -> tuple[Block, ...]:
    """Cut a model of equal layers where its windows or its experts end: sums need no order."""
    windowed = model.attention.windowed_layers
    dense = model.dense_layers
    cuts = sorted({0, windowed, dense, model.layers})
    near = whole = model.attention
    if isinstance(whole, GroupedQueryAttention):
        near = msgspec.structs.replace(whole, windowed_layers=0)
        whole = msgspec.structs.replace(whole, windowed_layers=0, window=None)
    part = Dense(width=model.dense_width, matrices=model.dense_matrices)
    return tuple(
        Block(
            count=end - start,
            mixers=(near if start < windowed else whole,),
            dense=(part,) if start < dense else (),
            routed=start >= dense,
            other=model.norms_per_layer * model.hidden,
        )
        for start, end in pairwise(cuts)
    )
