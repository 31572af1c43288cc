"""How many heads a layer has and how wide they are; windowed and other layers may differ."""

from collections.abc import Mapping
from typing import NamedTuple

from catalog.bounded import COUNTS
from catalog.reader.family import Family
from catalog.reader.fields import Fields, MissingKey
from catalog.reader.sparse_attention import HEADS
from catalog.reader.words import FULL, WINDOWED

KV_HEADS = (
    "num_key_value_heads", "n_kv_heads", "num_attention_groups", "kv_n_heads", "num_kv_heads",
)  # fmt: skip
HEAD_DIM = ("head_dim", "attention_head_dim", "kv_channels")
WINDOWED_HEADS = ("swa_num_attention_heads", "num_sliding_attention_heads")


class HeadSizes(NamedTuple):
    """Query heads, KV heads, and the width of a key and of a value."""

    heads: int
    kv_heads: int
    key: int
    value: int


def head_sizes(
    fields: Fields, family: Family, kind: str, *, hidden: int, layer: int, layers: int
) -> HeadSizes:
    """Read one layer's; a list or `per_layer_config` (transformers 5) may give each its own."""
    found = _common(fields, hidden)
    if kind == WINDOWED:
        found = _windowed(fields, family, found)
    elif family.global_head_dim:
        width = fields.integer("global_head_dim", default=family.global_head_dim)
        found = found._replace(key=width, value=width)
    if kind == FULL and fields.boolean("attention_k_eq_v", default=False):
        kv_heads = fields.integer("num_global_key_value_heads", default=found.kv_heads)
        found = found._replace(kv_heads=kv_heads)
    own = override(fields, layer)
    if own is not None:
        found = _named(own, {}, found)
    each = fields.numbers("num_attention_heads_per_layer", length=layers)
    found = found._replace(heads=each[layer]) if each else found
    if found.kv_heads < 1 or found.heads % found.kv_heads:
        why = f"{found.kv_heads} does not divide {found.heads} attention heads"
        raise fields.bad(KV_HEADS[0], why)
    return found


def override(fields: Fields, layer: int) -> Fields | None:
    """Return what `per_layer_config` sets for one layer."""
    whole = fields.nested("per_layer_config")
    for key in whole.keys if whole else ():
        if whole is not None and COUNTS.parse(key) == layer:
            return whole.nested(key)
    return None


def _common(fields: Fields, hidden: int) -> HeadSizes:
    heads = fields.integer(*HEADS)
    if not fields.has(*HEAD_DIM) and hidden % heads:
        why = f"head_dim: is missing, and {heads} heads do not divide {hidden}"
        raise MissingKey(fields.where, why)
    width = fields.integer(*HEAD_DIM, default=hidden // heads)
    return HeadSizes(
        heads=heads,
        kv_heads=fields.integer(*KV_HEADS, default=heads),
        key=width,
        # Zero in DeepSeek's small models, which have no latent attention.
        value=fields.integer("v_head_dim", default=width, least=0) or width,
    )


def _windowed(fields: Fields, family: Family, common: HeadSizes) -> HeadSizes:
    """Those of windowed layers: an object of their own, or names of their own (`swa_…`)."""
    other = fields.nested("attention_other_setting")
    if other is not None:
        named = other.text("attention_type", default="sliding_attention")
        if named != "sliding_attention":
            raise fields.uncounted("attention_other_setting", f"{named!r} is not known here")
        other.skip("true_head_dim")
        common = _named(other, {}, common)
    elif family.windowed_heads_apart and not fields.given(
        *WINDOWED_HEADS, "per_layer_config", "num_attention_heads_per_layer"
    ):
        raise fields.uncounted("num_sliding_attention_heads", "is missing")
    else:
        common = common._replace(kv_heads=common.kv_heads * family.windowed_kv_factor)
    return _named(fields, _WINDOWED, common)


_OWN = {"heads": HEADS, "kv_heads": KV_HEADS, "key": HEAD_DIM, "value": ("v_head_dim",)}
_WINDOWED = {
    "heads": WINDOWED_HEADS,
    "kv_heads": ("swa_num_key_value_heads",),
    "key": ("swa_head_dim",),
    "value": ("swa_v_head_dim",),
}


def _named(fields: Fields, names: Mapping[str, tuple[str, ...]], default: HeadSizes) -> HeadSizes:
    """Read the four sizes by these names, or their usual ones; values are as wide as keys were."""
    names = names or _OWN
    key = fields.integer(*names["key"], default=default.key)
    value = key if default.value == default.key else default.value
    return HeadSizes(
        heads=fields.integer(*names["heads"], default=default.heads),
        kv_heads=fields.integer(*names["kv_heads"], default=default.kv_heads),
        key=key,
        value=fields.integer(*names["value"], default=value),
    )
