"""What a model is made of, and the counts that follow from it."""

from typing import Literal

import msgspec

Kind = Literal["autoregressive", "diffusion"]


class GroupedQueryAttention(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="gqa"
):
    """Multi-head (kv_heads = heads), grouped-query and multi-query attention."""

    heads: int
    kv_heads: int
    head_dim: int
    window: int | None = None
    """Tokens a windowed layer looks back; None when every layer sees the whole context."""
    windowed_layers: int = 0
    bias: bool = False
    """Query, key and value projections carry a bias (Qwen1.5, gpt-oss)."""
    output_bias: bool = False
    qk_norm: Literal["none", "head", "full"] = "none"
    """RMS norm of queries and keys: per head (Qwen3) or over the whole projection (OLMoE)."""
    sinks: bool = False
    """One learned logit a head (gpt-oss)."""

    @property
    def kv_elements(self) -> int:
        """Cache elements per token per layer: a key and a value for each KV head."""
        return 2 * self.kv_heads * self.head_dim

    def params(self, hidden: int) -> int:
        query, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        weights = hidden * (2 * query + 2 * kv)
        biases = (query + 2 * kv if self.bias else 0) + (hidden if self.output_bias else 0)
        norms = {"none": 0, "head": 2 * self.head_dim, "full": query + kv}[self.qk_norm]
        return weights + biases + norms + (self.heads if self.sinks else 0)


class LatentAttention(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="mla"
):
    """Multi-head latent attention (DeepSeek-V2, section 2.1): one latent per token is cached."""

    heads: int
    kv_rank: int
    rope_dim: int
    nope_dim: int
    value_dim: int
    query_rank: int | None

    window: None = None
    windowed_layers: int = 0

    @property
    def kv_heads(self) -> int:
        """One latent serves all heads, so tensor parallelism cannot split the cache."""
        return 1

    @property
    def kv_elements(self) -> int:
        return self.kv_rank + self.rope_dim

    def params(self, hidden: int) -> int:
        """Projections, with one RMS norm weight for each element of the two latents."""
        query_dim = self.heads * (self.nope_dim + self.rope_dim)
        query = (
            hidden * query_dim
            if self.query_rank is None
            else self.query_rank * (hidden + query_dim + 1)
        )
        down = hidden * (self.kv_rank + self.rope_dim) + self.kv_rank
        up = self.kv_rank * self.heads * (self.nope_dim + self.value_dim)
        return query + down + up + self.heads * self.value_dim * hidden


Attention = GroupedQueryAttention | LatentAttention


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

    @property
    def active_fraction(self) -> float:
        """s = k / E of the qs inequality (eq. 9)."""
        return self.top_k / self.count

    def params_per_expert(self, hidden: int) -> int:
        bias = (self.matrices - 1) * self.width + hidden if self.bias else 0
        return self.matrices * hidden * self.width + bias

    def shared_params(self, hidden: int) -> int:
        """Shared experts, their gate and the router of one layer."""
        shared = self.matrices * hidden * self.shared_width + (hidden if self.shared_gate else 0)
        return shared + hidden * self.count + (self.count if self.router_bias else 0)


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One architecture. Sizes are counts of elements; bytes need a data type."""

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
    tied_embeddings: bool
    max_context: int
    norms_per_layer: int = 2
    extra_params: int = 0
    """Parameters outside this scheme (Switch-C's cross-attention and relative positions)."""
    kind: Kind = "autoregressive"
    weight_dtype: str = "bfloat16"
    """Data type of the published weights; expert weights of gpt-oss are mxfp4."""
    expert_dtype: str | None = None
    source: str = ""
    """Where the figures come from."""

    @property
    def dense_layers(self) -> int:
        return self.layers - (self.experts.layers if self.experts else 0)

    @property
    def embedding_params(self) -> int:
        return self.vocab * self.hidden * (1 if self.tied_embeddings else 2)

    @property
    def attention_params(self) -> int:
        """Attention and layer norms of all layers, with the final norm."""
        norms = self.norms_per_layer * self.layers * self.hidden + self.hidden
        return self.layers * self.attention.params(self.hidden) + norms

    @property
    def dense_ffn_params(self) -> int:
        return self.dense_layers * self.dense_matrices * self.hidden * self.dense_width

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
        return self.layers * self.attention.kv_elements
