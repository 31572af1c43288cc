"""How the tokens of a layer see each other: its weights, its cache, its state of fixed size.

Each kind says the same of itself: `matrices` (projections by their name in a checkpoint, in
elements), `params`, `kv_elements` (cache elements one more token adds), `window` (tokens after
which that stops), `index_bytes` (bytes of a sparse indexer's key a token), `state_elements` (fixed,
one sequence), and `ways`, the most tensor parallel ranks its cache or state can be split over;
`score_width` and `prompt_score_width` (multiply-adds of a query-key pair in decoding and in a
prompt), `widening`, and `replicated` (parameters that tensor parallelism does not split).
"""

from typing import Literal

import msgspec

from catalog.indexers import BlockIndexer, Indexer


class _Mixer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A kind that caches and scores nothing, and that tensor parallelism splits whole."""

    @property
    def kv_elements(self) -> int:
        return 0

    @property
    def index_bytes(self) -> int:
        return 0

    @property
    def reach(self) -> int | None:
        return None

    @property
    def score_width(self) -> int:
        return 0

    @property
    def prompt_score_width(self) -> int:
        return self.score_width

    @property
    def widening(self) -> int:
        return 0

    def replicated(self, hidden: int) -> int:
        del hidden  # norms and routers weigh next to nothing, and are counted as split
        return 0


class GroupedQueryAttention(
    _Mixer, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="gqa"
):
    """Multi-head (kv_heads = heads), grouped-query and multi-query attention."""

    heads: int
    kv_heads: int
    head_dim: int
    window: int | None = None
    """Tokens a windowed layer looks back; None when every layer sees the whole context."""
    windowed_layers: int = 0
    """Of a model whose layers are otherwise equal; a run of layers is windowed as a whole."""
    chunked: bool = False
    """The window is a chunk: a token sees its own chunk alone (Llama 4)."""
    bias: bool = False
    """Query, key and value projections carry a bias (Qwen1.5, gpt-oss)."""
    output_bias: bool = False
    qk_norm: Literal["none", "head", "full"] = "none"
    """RMS norm of queries and keys: per head (Qwen3) or over the whole projection (OLMoE)."""
    sinks: bool = False
    """One learned logit a head (gpt-oss)."""
    value_dim: int | None = None
    """Width of a value head where it is not that of a key head (MiMo-V2)."""
    gate: Literal["none", "head", "element"] = "none"
    """The output is weighed by a projection of the input: a number a head (Step-3.5) or one for
    each element of it (Qwen3-Next)."""
    query_rank: int | None = None
    """Queries go through a space this narrow, with a norm (Step-3)."""
    shared_values: bool = False
    """Keys serve as values: no value matrix, yet values are cached (Gemma 4)."""
    borrowed_cache: bool = False
    """Keys and values are those of an earlier layer (Gemma 3n): no matrices, no cache."""
    index: BlockIndexer | None = None
    top_k: int | None = None
    """Tokens a query reads of those before it, in blocks that an indexer picks."""

    @property
    def value_width(self) -> int:
        return self.head_dim if self.value_dim is None else self.value_dim

    @property
    def kv_elements(self) -> int:
        """Cache elements per token per layer: a key and a value for each KV head."""
        return 0 if self.borrowed_cache else self.kv_heads * (self.head_dim + self.value_width)

    @property
    def index_bytes(self) -> int:
        return self.index.bytes_per_token if self.index else 0

    @property
    def state_elements(self) -> int:
        return 0

    @property
    def reach(self) -> int | None:
        """Tokens a query reads at most; None when it reads them all."""
        return self.top_k if self.window is None else self.window

    @property
    def ways(self) -> int:
        return self.kv_heads

    @property
    def score_width(self) -> int:
        """Multiply-adds of one query-key pair: its score and its share of the result."""
        return self.heads * (self.head_dim + self.value_width)

    def matrices(self, hidden: int) -> dict[str, int]:
        query, out = self.heads * self.head_dim, self.heads * self.value_width
        found = {"q_proj": hidden * query}
        if self.query_rank is not None:
            found = {"q_a_proj": hidden * self.query_rank, "q_b_proj": self.query_rank * query}
        if not self.borrowed_cache:
            found["k_proj"] = hidden * self.kv_heads * self.head_dim
            if not self.shared_values:
                found["v_proj"] = hidden * self.kv_heads * self.value_width
        gates = {"none": 0, "head": self.heads, "element": out}[self.gate]
        found |= {"o_proj": out * hidden} | ({"gate_proj": hidden * gates} if gates else {})
        return found | (self.index.matrices(hidden) if self.index else {})

    def params(self, hidden: int) -> int:
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        value = 0 if self.shared_values else self.kv_heads * self.value_width
        cached = 0 if self.borrowed_cache else 1
        biases = (query + cached * (key + value) if self.bias else 0) + (
            hidden if self.output_bias else 0
        )
        norms = {"none": 0, "head": (1 + cached) * self.head_dim, "full": query + cached * key}
        small = biases + norms[self.qk_norm] + (self.heads if self.sinks else 0)
        small += 2 * self.index.head_dim if self.index else 0
        return sum(self.matrices(hidden).values()) + small + (self.query_rank or 0)


class LatentAttention(_Mixer, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="mla"):
    """Multi-head latent attention (DeepSeek-V2, section 2.1): one latent per token is cached."""

    heads: int
    kv_rank: int
    rope_dim: int
    nope_dim: int
    value_dim: int
    query_rank: int | None
    window: None = None
    windowed_layers: int = 0
    index: Indexer | None = None
    """This layer's own indexer; a layer may use an earlier one's choice."""
    top_k: int | None = None
    """Tokens a query reads of those before it; None reads them all."""

    @property
    def kv_heads(self) -> int:
        """One latent serves all heads, so tensor parallelism cannot split the cache."""
        return 1

    @property
    def kv_elements(self) -> int:
        return self.kv_rank + self.rope_dim

    @property
    def index_bytes(self) -> int:
        return self.index.bytes_per_token if self.index else 0

    @property
    def state_elements(self) -> int:
        return 0

    @property
    def reach(self) -> int | None:
        return self.top_k

    @property
    def ways(self) -> int:
        return 1

    @property
    def score_width(self) -> int:
        """In its absorbed form a query scores against the latent itself (DeepSeek-V2, 2.1.2)."""
        return self.heads * (2 * self.kv_rank + self.rope_dim)

    @property
    def prompt_score_width(self) -> int:
        """A prompt's keys and values are widened to full heads first, as vLLM does.

        Where an indexer picks a token's keys they stay latents, in prompts too.
        """
        if self.top_k is not None:
            return self.score_width
        return self.heads * (self.nope_dim + self.rope_dim + self.value_dim)

    @property
    def widening(self) -> int:
        """Elements of the matrix that widens a cached latent: once more in each later chunk."""
        if self.top_k is not None:
            return 0
        return self.kv_rank * self.heads * (self.nope_dim + self.value_dim)

    def replicated(self, hidden: int) -> int:
        """Parameters that every tensor-parallel rank holds: down-projections, norms, indexer."""
        found = self.matrices(hidden)
        split = ("q_proj", "q_b_proj", "kv_b_proj", "o_proj")
        return self.params(hidden) - sum(found.get(name, 0) for name in split)

    def matrices(self, hidden: int) -> dict[str, int]:
        query = self.heads * (self.nope_dim + self.rope_dim)
        if self.query_rank is None:
            found = {"q_proj": hidden * query}
        else:
            found = {"q_a_proj": hidden * self.query_rank, "q_b_proj": self.query_rank * query}
        found["kv_a_proj_with_mqa"] = hidden * (self.kv_rank + self.rope_dim)
        found["kv_b_proj"] = self.kv_rank * self.heads * (self.nope_dim + self.value_dim)
        found["o_proj"] = self.heads * self.value_dim * hidden
        if self.index:
            found |= self.index.matrices(hidden, self.query_rank or hidden)
        return found

    def params(self, hidden: int) -> int:
        """Projections, with one RMS norm weight for each element of the two latents.

        An index key has a layer norm, with a bias.
        """
        norms = self.kv_rank + (self.query_rank or 0)
        norms += 2 * self.index.head_dim if self.index else 0
        return sum(self.matrices(hidden).values()) + norms


StateKind = Literal[
    "mamba", "mamba2", "gated-delta", "kimi-delta", "lightning", "convolution", "rg-lru"
]


class FixedState(_Mixer, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="state"):
    """A layer that keeps a state of fixed size instead of a cache that grows."""

    kind: StateKind
    heads: int
    """Ways its state can be split: heads, or channels of a convolution."""
    projections: tuple[tuple[str, int], ...]
    """Its matrices by name, in elements."""
    small: int = 0
    """Convolution kernels, norms, biases and the like."""
    state_elements: int
    """Of one sequence, convolutions with kernel - 1 columns."""
    window: None = None

    @property
    def ways(self) -> int:
        return self.heads

    def matrices(self, hidden: int) -> dict[str, int]:
        del hidden  # the projections are given whole
        return dict(self.projections)

    def params(self, hidden: int) -> int:
        return sum(self.matrices(hidden).values()) + self.small


Attention = GroupedQueryAttention | LatentAttention
Mixer = GroupedQueryAttention | LatentAttention | FixedState
