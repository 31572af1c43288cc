"""The feed-forward parts of each layer, and the experts, from the many names of their sizes."""

from dataclasses import dataclass

from msgspec.structs import replace

from catalog.models import Dense, Experts
from catalog.reader.family import Family
from catalog.reader.fields import Fields
from catalog.reader.sparse import DENSE, SPARSE, feeds

EXPERTS = (
    "num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts",
    "num_routed_experts",
)  # fmt: skip
TOP_K = (
    "num_experts_per_tok", "num_experts_per_token", "moe_top_k", "moe_k", "moe_topk",
    "top_k_experts", "experts_per_token", "num_selected_experts", "num_activated_experts",
)  # fmt: skip
EXPERT_WIDTH = (
    "moe_intermediate_size", "expert_intermediate_size", "expert_ffn_hidden_size",
)  # fmt: skip
SHARED_COUNT = (
    "n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts",
)  # fmt: skip
SHARED_WIDTH = (
    "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size",
    "share_expert_dim", "shared_intermediate_size",
)  # fmt: skip
DENSE_WIDTHS = (
    "dense_intermediate_size", "intermediate_size_mlp", "prefix_dense_intermediate_size",
    "intermediate_size", "mlp_hidden_size", "ffn_dim", "ffn_hidden_size", "n_inner",
    "block_ff_dim",
)  # fmt: skip
SPACES = ("moe_hidden_size", "moe_latent_size", "routed_expert_hidden_size")
ROUTER_BIASES = ("use_routing_bias", "use_moe_router_bias", "moe_router_enable_expert_bias")
_EXPERT_KEYS = (
    "moe_", "num_experts", "num_local_experts", "n_routed_experts", "num_shared_expert",
    "n_shared_experts", "shared_expert", "expert_", "top_k_experts",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FeedForward:
    """What each layer feeds its tokens through."""

    experts: Experts | None
    dense: tuple[tuple[Dense, ...], ...]
    routed: tuple[bool, ...]


def feed_forward(
    fields: Fields, family: Family, *, hidden: int, layers: int, borrowing: int
) -> FeedForward:
    """Read all layers; the last `borrowing` of them use an earlier layer's cache."""
    count = _count(fields)
    kinds = feeds(fields, layers, experts=count > 0, dense_first=family.dense_first)
    sparse = kinds.count(SPARSE)
    experts = _experts(fields, family, count, sparse, hidden) if sparse else None
    dense = _dense(fields, family, kinds, hidden, borrowing)
    if experts is None and (family.compared or fields.given(*EXPERTS)):
        fields.skip(*_EXPERT_KEYS)
        if fields.given("intermediate_size_mlp"):
            fields.skip("intermediate_size")  # Llama 4's experts, of which Llama-Guard-4 has none
    elif DENSE not in kinds:
        fields.skip(*DENSE_WIDTHS)
    return FeedForward(experts, dense, tuple(kind == SPARSE for kind in kinds))


def _dense(
    fields: Fields, family: Family, kinds: list[str], hidden: int, borrowing: int
) -> tuple[tuple[Dense, ...], ...]:
    """Return each layer's dense parts; those that borrow a cache may be twice as wide (Gemma 4)."""
    part = _part(fields, family) if DENSE in kinds else None
    beside = _beside(fields, family, hidden) if SPARSE in kinds else ()
    wide = fields.boolean("use_double_wide_mlp", default=False)
    found = []
    for layer, kind in enumerate(kinds):
        if kind != DENSE or part is None:
            found.append(beside if kind == SPARSE else ())
        elif wide and layer >= len(kinds) - borrowing:
            found.append((replace(part, width=2 * part.width),))
        else:
            found.append((part,))
    return tuple(found)


def _count(fields: Fields) -> int:
    """Return how many experts there are; a key may switch them off whatever the others say."""
    count = fields.integer(*EXPERTS, default=0, least=0)
    on = fields.boolean("is_moe", "enable_moe_block", "use_moe", default=True)
    return count if on else 0


def _bias(fields: Fields, family: Family) -> bool:
    if not family.mlp_bias_key:
        return family.mlp_bias_default
    return fields.boolean(family.mlp_bias_key, default=family.mlp_bias_default)


def _part(fields: Fields, family: Family) -> Dense:
    bias = _bias(fields, family)
    return Dense(width=dense_width(fields, family), matrices=_matrices(fields, family), bias=bias)


def _matrices(fields: Fields, family: Family) -> int:
    """Two without a gate: an activation without a gate gives it away where nothing else does."""
    act = fields.raw("hidden_act", "mlp_hidden_act", "hidden_activation", "activation_function")
    if not family.compared and act in _GATELESS:
        key = "hidden_act" if fields.given("hidden_act") else "mlp_hidden_act"
        raise fields.uncounted(
            key, f"{act!r}: whether the feed-forward part has a gate is not said"
        )
    return family.matrices


_GATELESS = ("relu", "relu2", "gelu", "gelu_new", "gelu_fast", "quick_gelu", "squared_relu")


def dense_width(fields: Fields, family: Family) -> int:
    """Return the width of a dense part; LFM2 writes it larger than it is."""
    if family.dense_is_shared and fields.has("shared_intermediate_size"):
        fields.skip("intermediate_size")
        return fields.integer("shared_intermediate_size")
    key = next((key for key in DENSE_WIDTHS if fields.given(key)), "")
    key = key or next((key for key in DENSE_WIDTHS if fields.has(key)), "intermediate_size")
    width = fields.integer(key)
    fields.supersede(*DENSE_WIDTHS)
    if fields.boolean("block_auto_adjust_ff_dim", default=False):
        width = _adjusted(fields, width)
    return width


def _adjusted(fields: Fields, width: int) -> int:
    """Two thirds, times a factor, rounded up to a multiple (LFM2's modeling code)."""
    width = 2 * width // 3
    factor = fields.raw("block_ffn_dim_multiplier")
    if factor is not None:
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < 100:
            raise fields.bad("block_ffn_dim_multiplier", f"got {factor!r}, allowed: a number")
        width = int(factor * width)
    multiple = fields.integer("block_multiple_of", default=256)
    return multiple * -(-width // multiple)


def _experts(fields: Fields, family: Family, count: int, layers: int, hidden: int) -> Experts:
    top_k = fields.integer(*TOP_K)
    if top_k > count:
        raise fields.bad(TOP_K[0], f"{top_k} is more than the {count} experts")
    width = fields.integer(*EXPERT_WIDTH, default=0, least=0) or dense_width_of_experts(fields)
    space = fields.integer(*SPACES) if fields.has(*SPACES) else None
    shared = _shared_width(fields, family, width)
    small = _router_small(fields, family, count, hidden)
    if shared and _bias(fields, family):
        small += (family.matrices - 1) * shared + hidden
    return Experts(
        count=count,
        top_k=top_k,
        width=width,
        layers=layers,
        shared_width=shared,
        shared_gate=family.shared_gate,
        matrices=_matrices(fields, family),
        bias=family.expert_bias,
        router_bias=_router_bias(fields, family),
        space=space,
        router_small=small,
    )


def dense_width_of_experts(fields: Fields) -> int:
    return fields.integer("intermediate_size", "ffn_hidden_size")


def _router_bias(fields: Fields, family: Family) -> bool:
    if family.router_bias_key:
        return fields.boolean(family.router_bias_key, default=True)
    return fields.boolean(*ROUTER_BIASES, default=family.router_bias)


def _shared_width(fields: Fields, family: Family, width: int) -> int:
    """All shared experts together: their whole width where given, else so many routed ones'."""
    if family.always_shared and not fields.given(*SHARED_COUNT):
        return width
    count = fields.integer(*SHARED_COUNT, default=0, least=0)
    if not fields.has(*SHARED_WIDTH):
        return count * width
    return fields.integer(*SHARED_WIDTH, least=0)


def _router_small(fields: Fields, family: Family, count: int, hidden: int) -> int:
    """Gemma 4 scales the router's input and each expert; Inkling has sinks and a scale."""
    if family.global_head_dim:
        return hidden + count
    if family.twofold:  # experts that do nothing have a place in the router, and no weights
        return fields.integer("zero_expert_num", default=0, least=0) * (hidden + 1)
    if family.short_convolutions:
        sinks = fields.integer(*SHARED_COUNT, default=0, least=0)
        return sinks * hidden + 1
    return 0


def _beside(fields: Fields, family: Family, hidden: int) -> tuple[Dense, ...]:
    """Return the dense parts that layers with experts have beside them."""
    width = 0
    if family.twofold:
        return (Dense(width=fields.integer("ffn_hidden_size"), matrices=family.matrices),) * 2
    if fields.boolean("residual_moe", default=False) or family.global_head_dim:
        width = dense_width(fields, family)
    elif fields.boolean("use_residual", default=False):
        width = hidden
        fields.skip("parallel_attn_mlp_res")
    return (Dense(width=width, matrices=family.matrices),) if width else ()
