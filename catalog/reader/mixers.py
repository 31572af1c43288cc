"""The attention of each layer, from the many names that its sizes have."""

from collections.abc import Sequence

from catalog.attention import GroupedQueryAttention, Mixer
from catalog.reader.family import Family, Gate, QkNorm
from catalog.reader.fields import Fields
from catalog.reader.head_sizes import head_sizes, override
from catalog.reader.sparse_attention import block_index, blocks_read, latent
from catalog.reader.states import STATES, relative_positions, short_convolutions
from catalog.reader.words import (
    BESIDE,
    BLOCK_SPARSE,
    CHUNKED,
    CONV,
    FULL,
    LINEAR,
    NONE,
    WINDOWED,
    listed_kinds,
    ruled_kinds,
    windowed_by_rule,
)

WINDOW = ("sliding_window", "sliding_window_size", "window_size")
QK_NORM_FLAGS = ("use_qk_norm", "qk_layernorm", "qk_norm")
_STATE_KEYS = ("mamba_", "ssm_", "linear_", "conv_")
_WINDOW_KEYS = ("swa_", "sliding_", "attention_chunk_size", "window_size")


def mixers(fields: Fields, family: Family, *, hidden: int, layers: int) -> list[tuple[Mixer, ...]]:
    """Return what mixes the tokens of each layer; nothing where a layer only feeds forward."""
    kinds = layer_kinds(fields, family, layers)
    _skip_absent(fields, family, set(kinds))
    made: dict[object, tuple[Mixer, ...]] = {}
    found = []
    for layer, kind in enumerate(kinds):
        key = (kind, _own(fields, layer, layers))
        if key not in made:
            made[key] = _mixers_of(fields, family, kind, hidden=hidden, layer=layer, layers=layers)
        found.append(made[key])
    return found


def _skip_absent(fields: Fields, family: Family, kinds: set[str]) -> None:
    """Take the sizes of kinds of layer as read that the family has and this model does not."""
    if family.state and not {LINEAR, CONV, BESIDE} & kinds:
        fields.skip(*_STATE_KEYS)
    listed = fields.given("layer_types", "hybrid_layer_pattern", "layers_block_type")
    if listed and not {CHUNKED, WINDOWED, f"{BESIDE}-{WINDOWED}"} & kinds:
        fields.skip(*_WINDOW_KEYS)


def layer_kinds(fields: Fields, family: Family, layers: int) -> list[str]:
    """Return each layer's kind: as listed, by the config's rule, or by the family's."""
    state = CONV if family.state == "convolution" else LINEAR
    kinds = listed_kinds(fields, layers) or ruled_kinds(fields, layers, state)
    if not kinds and family.attention_every:
        every = abs(family.attention_every)
        odd = family.attention_every < 0  # MiniMax begins with attention
        kinds = [state if ((layer + 1) % every == 0) == odd else FULL for layer in range(layers)]
    if not kinds and family.state and not family.beside:
        raise fields.uncounted("layer_types", "is missing: which layers keep a state is not said")
    kinds = kinds or _windowed(fields, family, layers) or [FULL] * layers
    if family.beside:
        kinds = [BESIDE] * layers
    _refuse_strange(fields, family, kinds)
    return kinds


def _refuse_strange(fields: Fields, family: Family, kinds: Sequence[str]) -> None:
    """A family has the kinds of layer that its code has, whatever a list says."""
    stateful = {LINEAR, CONV, BESIDE} & set(kinds)
    if stateful and not (family.state or family.short_convolutions):
        known = ("layer_types", "layers_block_type", "hybrid_override_pattern", "attn_type_list")
        key = next((key for key in (*known, "linear_attn_config") if fields.given(key)), known[0])
        raise fields.uncounted(
            key, f"layers that keep a state ({', '.join(stateful)}) are not known of this family"
        )


def _windowed(fields: Fields, family: Family, layers: int) -> list[str]:
    if fields.has("attention_chunk_size") and family.always_shared:
        every = fields.integer("no_rope_layer_interval", default=4)
        return [FULL if (layer + 1) % every == 0 else CHUNKED for layer in range(layers)]
    used = fields.boolean("use_sliding_window", default=True)
    if not used or not fields.has(*WINDOW):
        fields.skip(*WINDOW, "max_window_layers", "sliding_window_pattern", "global_attn_every")
        return []
    by_rule = windowed_by_rule(fields, layers)
    if by_rule or family.full_every == 1:
        return by_rule
    if family.full_every == 0:
        return [WINDOWED] * layers
    return [FULL if (layer + 1) % family.full_every == 0 else WINDOWED for layer in range(layers)]


def _own(fields: Fields, layer: int, layers: int) -> tuple[object, ...]:
    """What a layer's attention has of its own by its place in a list."""
    heads = fields.sequence("num_attention_heads_per_layer", length=layers)
    indexers = fields.sequence("indexer_types", length=layers)
    return (
        heads[layer] if heads else None,
        indexers[layer] if indexers else None,
        _borrows(fields, layer, layers),
        override(fields, layer),
    )


def _borrows(fields: Fields, layer: int, layers: int) -> bool:
    """The last layers read the keys and values of an earlier one (Gemma 3n)."""
    shared = fields.integer("num_kv_shared_layers", default=0, least=0, most=layers)
    return layer >= layers - shared > 0


def _mixers_of(
    fields: Fields, family: Family, kind: str, *, hidden: int, layer: int, layers: int
) -> tuple[Mixer, ...]:
    if kind == NONE:
        return ()
    if kind in (LINEAR, CONV):
        return (STATES[family.state](fields, hidden),)
    if fields.has("kv_lora_rank"):
        return (latent(fields, layer, layers),)
    near = kind.endswith(WINDOWED)
    attention = _grouped(fields, family, WINDOWED if near else kind, hidden, layer, layers)
    if family.short_convolutions:
        kernel = fields.integer("conv_kernel_size")
        key_width = attention.kv_heads * attention.head_dim
        widths = (key_width, key_width, hidden, hidden)
        return (
            attention,
            relative_positions(fields, hidden, attention),
            *(short_convolutions(width, kernel) for width in widths),
        )
    if kind == BESIDE:
        return (attention, STATES[family.state](fields, hidden))
    return (attention,)


def _grouped(
    fields: Fields, family: Family, kind: str, hidden: int, layer: int, layers: int
) -> GroupedQueryAttention:
    sizes = head_sizes(fields, family, kind, hidden=hidden, layer=layer, layers=layers)
    borrowed = _borrows(fields, layer, layers)
    bias = fields.boolean(family.bias_key, default=family.bias_default)
    out = bias and family.output_bias
    if family.output_bias_key:
        out = fields.boolean(family.output_bias_key, default=False)
    return GroupedQueryAttention(
        heads=sizes.heads,
        kv_heads=sizes.kv_heads,
        head_dim=sizes.key,
        value_dim=None if sizes.value == sizes.key else sizes.value,
        window=_window(fields, kind),
        chunked=kind == CHUNKED,
        bias=bias,
        output_bias=out,
        qk_norm=_qk_norm(fields, family),
        sinks=family.sinks or (family.windowed_sinks and kind == WINDOWED),
        gate=_gate(fields, family),
        query_rank=fields.integer("share_q_dim") if fields.has("share_q_dim") else None,
        shared_values=kind == FULL and fields.boolean("attention_k_eq_v", default=False),
        borrowed_cache=borrowed,
        index=block_index(fields) if kind == BLOCK_SPARSE else None,
        top_k=blocks_read(fields) if kind == BLOCK_SPARSE else None,
    )


def _window(fields: Fields, kind: str) -> int | None:
    if kind == WINDOWED:
        return fields.integer(*WINDOW)
    return fields.integer("attention_chunk_size") if kind == CHUNKED else None


def _qk_norm(fields: Fields, family: Family) -> QkNorm:
    flagged = fields.boolean(*QK_NORM_FLAGS, default=False) and not family.bare_qk_norm
    return "head" if family.qk_norm == "none" and flagged else family.qk_norm


def _gate(fields: Fields, family: Family) -> Gate:
    gated = fields.boolean(
        "attn_output_gate", "attention_output_gate", default=family.gate != "none"
    )
    if family.gate_key and not fields.boolean(family.gate_key, default=True):
        return "none"
    return (family.gate if family.gate != "none" else "element") if gated else "none"
