"""A decoder-only model from its config: the names that families give to the same sizes."""

from catalog.config_fields import Fields
from catalog.families import Family, QkNorm
from catalog.models import Attention, Experts, GroupedQueryAttention, LatentAttention, Model
from catalog.weight_dtype import expert_dtype, weight_dtype

HIDDEN = ("hidden_size", "d_model", "n_embd")
LAYERS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")
HEADS = ("num_attention_heads", "n_heads", "n_head", "num_heads")
KV_HEADS = ("num_key_value_heads", "n_kv_heads")
CONTEXT = ("max_position_embeddings", "max_sequence_length", "n_positions", "seq_length")
DENSE_WIDTH = ("intermediate_size", "dense_intermediate_size", "mlp_hidden_size", "ffn_dim")
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
TOP_K = ("num_experts_per_tok", "num_experts_per_token", "moe_top_k", "moe_k")
EXPERT_WIDTH = ("moe_intermediate_size", "expert_intermediate_size", "intermediate_size")
SHARED_EXPERTS = ("n_shared_experts", "num_shared_experts")
MOST_LAYERS = 10_000
QK_NORM_FLAGS = ("use_qk_norm", "qk_layernorm", "qk_norm")


def decoder(fields: Fields, family: Family, *, name: str, source: str) -> Model:
    layers = fields.integer(*LAYERS, most=MOST_LAYERS)
    hidden = fields.integer(*HIDDEN)
    experts = _experts(fields, family, layers)
    dense_layers = layers - (experts.layers if experts else 0)
    dense_width = fields.integer(*DENSE_WIDTH) if dense_layers else 0
    mlp_bias = fields.boolean("mlp_bias", default=False)
    return Model(
        name=name,
        hf_id=None,
        layers=layers,
        hidden=hidden,
        vocab=fields.integer("vocab_size"),
        attention=_attention(fields, family, hidden=hidden, layers=layers),
        experts=experts,
        dense_width=dense_width,
        tied_embeddings=_tied(fields, family),
        max_context=fields.integer(*CONTEXT),
        norms_per_layer=family.norms_per_layer,
        extra_params=dense_layers * (2 * dense_width + hidden) if mlp_bias else 0,
        kind=family.kind,
        weight_dtype=weight_dtype(fields),
        expert_dtype=expert_dtype(fields),
        source=source,
    )


def _tied(fields: Fields, family: Family) -> bool:
    key = "weight_tying" if fields.has("weight_tying") else "tie_word_embeddings"
    return fields.boolean(key, default=family.tied_default)


def _attention(fields: Fields, family: Family, *, hidden: int, layers: int) -> Attention:
    heads = fields.integer(*HEADS)
    if fields.has("kv_lora_rank"):
        return LatentAttention(
            heads=heads,
            kv_rank=fields.integer("kv_lora_rank"),
            rope_dim=fields.integer("qk_rope_head_dim"),
            nope_dim=fields.integer("qk_nope_head_dim"),
            value_dim=fields.integer("v_head_dim"),
            query_rank=fields.integer("q_lora_rank") if fields.has("q_lora_rank") else None,
        )
    kv_heads = fields.integer(*KV_HEADS, default=heads)
    if heads % kv_heads:
        raise fields.bad(KV_HEADS[0], f"{kv_heads} does not divide {heads} attention heads")
    if not fields.has("head_dim") and hidden % heads:
        raise fields.bad("head_dim", f"is missing, and {heads} heads do not divide {hidden}")
    bias = fields.boolean(family.bias_key, default=family.bias_default)
    window, windowed_layers = _window(fields, family, layers)
    return GroupedQueryAttention(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=fields.integer("head_dim", default=hidden // heads),
        window=window,
        windowed_layers=windowed_layers,
        bias=bias,
        output_bias=bias and family.output_bias,
        qk_norm=_qk_norm(fields, family),
        sinks=family.sinks,
    )


def _qk_norm(fields: Fields, family: Family) -> QkNorm:
    flagged = any(fields.boolean(flag, default=False) for flag in QK_NORM_FLAGS)
    return "head" if family.qk_norm == "none" and flagged else family.qk_norm


def _window(fields: Fields, family: Family, layers: int) -> tuple[int | None, int]:
    """Return the window in tokens and the layers that have it."""
    used = fields.boolean("use_sliding_window", default=True)
    if not used or not fields.has("sliding_window"):
        return None, 0
    kinds = fields.sequence("layer_types")
    if kinds and len(kinds) != layers:
        raise fields.bad("layer_types", f"{len(kinds)} entries for {layers} layers")
    if kinds:
        windowed = kinds.count("sliding_attention")
    elif family.every_other_windowed:
        windowed = (layers + 1) // 2
    else:
        windowed = max(layers - fields.integer("max_window_layers", default=0, least=0), 0)
    return (fields.integer("sliding_window"), windowed) if windowed else (None, 0)


def _experts(fields: Fields, family: Family, layers: int) -> Experts | None:
    count = fields.integer(*EXPERTS, default=0, least=0)
    sparse = sum(_is_sparse(fields, layers)) if count else 0
    if not sparse:
        return None
    top_k = fields.integer(*TOP_K)
    if top_k > count:
        raise fields.bad(TOP_K[0], f"{top_k} is more than the {count} experts")
    width = fields.integer(*EXPERT_WIDTH)
    shared = fields.integer(*SHARED_EXPERTS, default=0, least=0) * width
    return Experts(
        count=count,
        top_k=top_k,
        width=width,
        layers=sparse,
        shared_width=fields.integer("shared_expert_intermediate_size", default=shared, least=0),
        shared_gate=family.shared_gate,
        bias=family.expert_bias,
        router_bias=family.router_bias,
    )


def _is_sparse(fields: Fields, layers: int) -> list[bool]:
    """Say of each layer whether it holds experts, by whichever scheme the family uses."""
    pattern = fields.sequence("moe_layer_freq") if fields.is_list("moe_layer_freq") else []
    if pattern:
        if len(pattern) != layers:
            raise fields.bad("moe_layer_freq", f"{len(pattern)} entries for {layers} layers")
        return [bool(entry) for entry in pattern]
    step = fields.integer("decoder_sparse_step", "moe_layer_freq", default=1)
    first_dense = fields.integer("first_k_dense_replace", default=0, least=0)
    dense = {layer for layer in fields.sequence("mlp_only_layers") if isinstance(layer, int)}
    offset = 1 if fields.has("decoder_sparse_step") else 0
    return [
        layer >= first_dense and (layer + offset) % step == 0 and layer not in dense
        for layer in range(layers)
    ]
