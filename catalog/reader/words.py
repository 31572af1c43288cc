"""Which kind of attention or state each layer has: the ways that configs have to say it.

Every list of words is closed: a word that is not in it is not counted.
"""

from collections.abc import Callable, Mapping
from typing import Any

from catalog.reader.fields import Fields

FULL, BLOCK_SPARSE, WINDOWED, CHUNKED, LINEAR, CONV, BESIDE, NONE = (
    "full", "block-sparse", "windowed", "chunked", "linear", "conv", "beside", "none",
)  # fmt: skip
"""Beside: attention and a state in one layer."""

_LAYER_TYPES = {
    "full_attention": FULL,
    "attention": FULL,
    "indexed_attention": FULL,
    "deepseek_sparse_attention": FULL,
    "minimax_m3_sparse": BLOCK_SPARSE,
    "sliding_attention": WINDOWED,
    "chunked_attention": CHUNKED,
    "linear_attention": LINEAR,
    "mamba": LINEAR,
    "conv": CONV,
    "hybrid": BESIDE,
    "hybrid_sliding": "beside-windowed",
}
_BLOCK_TYPES = {
    "mamba": LINEAR,
    "linear_attention": LINEAR,
    "attention": FULL,
    "full_attention": FULL,
    "moe": NONE,
    "mlp": NONE,
}
_PATTERN = {"M": LINEAR, "*": FULL, "E": NONE, "-": NONE}
BLOCK_FEEDS = {"moe": "sparse", "mlp": "dense", "E": "sparse", "-": "dense"}
SWITCHES = {0: False, 1: True}


def listed_kinds(fields: Fields, layers: int) -> list[str]:
    """Return the kinds that a list in the file names layer by layer; empty without one.

    `layers_block_type` and `hybrid_override_pattern` name feed-forward layers as well.
    """
    if fields.given("layer_types"):
        fields.skip(*_RULE_KEYS)
        return _translated(fields, "layer_types", _LAYER_TYPES, layers)
    sparse = fields.nested("sparse_attention_config")
    if sparse is not None and sparse.boolean("use_sparse_attention", default=True):
        found = _translated(sparse, "sparse_attention_freq", {1: BLOCK_SPARSE, 0: FULL}, layers)
        if found:
            return found
    if fields.given("layers_block_type"):
        return _translated(fields, "layers_block_type", _BLOCK_TYPES, layers)
    if fields.given("hybrid_override_pattern"):
        return [_word(fields, "hybrid_override_pattern", _PATTERN, w) for w in blocks(fields)]
    for key, one, zero in (
        ("attn_type_list", FULL, LINEAR),
        ("hybrid_layer_pattern", WINDOWED, FULL),
        ("no_rope_layers", CHUNKED, FULL),
    ):
        if fields.given(key) and (key != "no_rope_layers" or fields.has("attention_chunk_size")):
            return _translated(fields, key, {1: one, 0: zero}, layers)
    return []


def blocks(fields: Fields) -> list[str]:
    """Return the words of a file whose layers are either attention or feed-forward; else empty."""
    if fields.given("layers_block_type"):
        return [str(word) for word in fields.sequence("layers_block_type")]
    return list(fields.text("hybrid_override_pattern"))


_RULE_KEYS = (
    "full_attention_interval", "layer_group_size", "attn_layer_", "full_attn_idxs",
    "sliding_window_pattern", "_sliding_window_pattern", "global_attn_every_n_layers",
    "max_window_layers", "hybrid_layer_pattern", "no_rope_layer", "linear_attn_config",
    "prefix_dense_sliding_",
)  # fmt: skip
"""What a list of all layers makes needless, as the families' code has it."""


def ruled_kinds(fields: Fields, layers: int, state: str) -> list[str]:
    """Return the kinds that a rule of the config, or else of its class, gives; empty without one.

    `state` is what layers that are not attention are.
    """
    for told in (fields.given, fields.has):
        for keys, chosen in _RULES:
            if told(*keys):
                full = chosen(fields, layers)
                return [FULL if layer in full else state for layer in range(layers)]
    return []


def _one_based(fields: Fields, layers: int) -> set[int]:
    inner = fields.nested("linear_attn_config")
    assert inner is not None
    full = {layer - 1 for layer in inner.numbers("full_attn_layers")}
    linear = {layer - 1 for layer in inner.numbers("kda_layers")}
    if full & linear or full | linear != set(range(layers)):
        raise fields.bad("linear_attn_config", f"does not name each of {layers} layers once")
    return full


def _by_interval(fields: Fields, layers: int) -> set[int]:
    step = fields.integer("full_attention_interval", "layer_group_size")
    return {layer for layer in range(layers) if (layer + 1) % step == 0}


def _by_period(fields: Fields, layers: int) -> set[int]:
    period = fields.integer("attn_layer_period")
    offset = fields.integer("attn_layer_offset", default=0, least=0)
    return {layer for layer in range(layers) if layer % period == offset}


def _by_index(fields: Fields, layers: int) -> set[int]:
    key = next(k for k in ("full_attn_idxs", "attn_layer_indices") if fields.given(k))
    found = set(fields.numbers(key))
    if found and max(found) >= layers:
        raise fields.bad(key, f"names layer {max(found)} of {layers}")
    return found


_RULES: tuple[tuple[tuple[str, ...], Callable[[Fields, int], set[int]]], ...] = (
    (("linear_attn_config",), _one_based),
    (("full_attn_idxs", "attn_layer_indices"), _by_index),
    (("attn_layer_period",), _by_period),
    (("full_attention_interval", "layer_group_size"), _by_interval),
)


def windowed_by_rule(fields: Fields, layers: int) -> list[str]:
    """Return which layers are windowed by a pattern of the config; empty without one."""
    keys = ("sliding_window_pattern", "_sliding_window_pattern", "global_attn_every_n_layers")
    pattern = fields.raw(*keys)
    if isinstance(pattern, str) and pattern:
        return _by_letters(fields, pattern, layers)
    if pattern is not None:
        step = fields.integer(*keys)
        return [FULL if (layer + 1) % step == 0 else WINDOWED for layer in range(layers)]
    if fields.given("max_window_layers"):
        first = fields.integer("max_window_layers", least=0)
        return [FULL if layer < first else WINDOWED for layer in range(layers)]
    return []


def _by_letters(fields: Fields, pattern: str, layers: int) -> list[str]:
    """EXAONE 4: L is windowed, G full, over and over; its last layer is full in any case."""
    words = {"L": WINDOWED, "G": FULL}
    kinds = [_word(fields, "sliding_window_pattern", words, letter) for letter in pattern]
    repeated = (kinds * layers)[:layers]
    return [*repeated[:-1], FULL]


def _translated(fields: Fields, key: str, words: Mapping[Any, str], layers: int) -> list[str]:
    found = fields.sequence(key, length=layers)
    return [_word(fields, key, words, word) for word in found]


def _word(fields: Fields, key: str, words: Mapping[Any, str], word: object) -> str:
    kind = words.get(word) if isinstance(word, str | int) else None
    if kind is None:
        raise fields.uncounted(key, f"{word!r} is not a kind of layer that is known here")
    return kind
