"""Which layers hold experts: the ways that configs have to say it."""

from collections.abc import Callable

from catalog.bounded import COUNTS
from catalog.reader.fields import Fields
from catalog.reader.words import BLOCK_FEEDS, blocks

DENSE, SPARSE, BARE = "dense", "sparse", "bare"
"""Bare: a layer without a feed-forward part."""
_WORDS = {"dense": DENSE, "sparse": SPARSE, "moe": SPARSE}


def feeds(fields: Fields, layers: int, *, experts: bool, dense_first: int = 0) -> list[str]:
    """Return each layer's kind of feed-forward part.

    Where a config says it in several ways, they must agree.
    """
    named = blocks(fields)
    if named:
        found = [BLOCK_FEEDS.get(word, BARE) for word in named]
        return [DENSE if feed == SPARSE and not experts else feed for feed in found]
    if not experts:
        fields.skip(*(key for keys, _ in SCHEMES for key in keys))
        return [DENSE] * layers
    for given in (fields.given, fields.has):
        told = {keys[0]: rule(fields, layers) for keys, rule in SCHEMES if given(*keys)}
        if told:
            fields.supersede(*(key for keys, _ in SCHEMES for key in keys))
            return _agreed(fields, told)
    return [SPARSE if layer >= dense_first else DENSE for layer in range(layers)]


def _agreed(fields: Fields, told: dict[str, list[bool]]) -> list[str]:
    (first, found), *rest = told.items()
    for key, other in rest:
        if other != found and first not in _GO_FIRST:
            raise fields.bad(key, f"contradicts {first}: they name other layers with experts")
    return [SPARSE if sparse else DENSE for sparse in found]


def _by_words(fields: Fields, layers: int) -> list[bool]:
    found = []
    for word in fields.sequence("mlp_layer_types", length=layers):
        kind = _WORDS.get(word) if isinstance(word, str) else None
        if kind is None:
            raise fields.uncounted("mlp_layer_types", f"{word!r} is not a kind known here")
        found.append(kind == SPARSE)
    return found


def _by_switches(fields: Fields, layers: int) -> list[bool]:
    """`moe_layer_freq`: a switch for each layer, or a step that others count from 0."""
    if fields.is_list("moe_layer_freq"):
        return [bool(entry) for entry in fields.sequence("moe_layer_freq", length=layers)]
    return _by_first(fields, layers)


def _by_flags(fields: Fields, layers: int) -> list[bool]:
    found = fields.sequence("is_moe_layer", length=layers)
    if any(not isinstance(entry, bool) for entry in found):
        raise fields.bad("is_moe_layer", "allowed: a list of true and false")
    return [entry is True for entry in found]


def _by_first(fields: Fields, layers: int) -> list[bool]:
    first = fields.integer("first_k_dense_replace", "num_dense_layers", default=0, least=0)
    step = 1 if fields.is_list("moe_layer_freq") else fields.integer("moe_layer_freq", default=1)
    return [layer >= first and layer % step == 0 for layer in range(layers)]


def _by_list(fields: Fields, layers: int) -> list[bool]:
    named = fields.numbers("moe_layers")
    fields.skip("interleave_moe_layer_step")
    return _at(fields, "moe_layers", named, layers)


def _by_enumeration(fields: Fields, layers: int) -> list[bool]:
    """`moe_layers_enum`: numbers in a text with commas, or a list."""
    value = fields.raw("moe_layers_enum")
    parts = value.split(",") if isinstance(value, str) else value
    listed = parts if isinstance(parts, list) else [None]
    named = [
        COUNTS.parse(each) if isinstance(each, str) else COUNTS.or_none(each) for each in listed
    ]
    numbers = [number for number in named if number is not None]
    if len(numbers) < len(named):
        raise fields.bad("moe_layers_enum", "allowed: layer numbers with commas between")
    every = fields.integer("moe_every_n_layer", default=1)
    if every != 1:
        raise fields.uncounted("moe_every_n_layer", f"{every} beside moe_layers_enum")
    return _at(fields, "moe_layers_enum", numbers, layers)


def _at(fields: Fields, key: str, named: list[int], layers: int) -> list[bool]:
    if named and max(named) >= layers:
        raise fields.bad(key, f"names layer {max(named)} of {layers}")
    return [layer in set(named) for layer in range(layers)]


def _by_step(fields: Fields, layers: int) -> list[bool]:
    """Llama 4 and Arctic: each so-manieth layer, the first of them at the end of a step."""
    step = fields.integer("interleave_moe_layer_step", "moe_layer_frequency")
    return [(layer + 1) % step == 0 for layer in range(layers)]


def _by_range(fields: Fields, layers: int) -> list[bool]:
    """ERNIE 4.5: layer i where i + 1 is a multiple of the interval, from start to end."""
    start = fields.integer("moe_layer_start_index", default=0, least=0)
    end = layers - 1
    if fields.raw("moe_layer_end_index") not in (None, -1):
        end = fields.integer("moe_layer_end_index", least=0)
    step = fields.integer("moe_layer_interval", default=1)
    return [(layer + 1) % step == 0 and start <= layer <= end for layer in range(layers)]


def _by_period(fields: Fields, layers: int) -> list[bool]:
    period = fields.integer("expert_layer_period")
    offset = fields.integer("expert_layer_offset", default=0, least=0)
    return [layer % period == offset for layer in range(layers)]


def _by_sparse_step(fields: Fields, layers: int) -> list[bool]:
    step = fields.integer("decoder_sparse_step", default=1)
    dense = set(fields.numbers("mlp_only_layers"))
    return [(layer + 1) % step == 0 and layer not in dense for layer in range(layers)]


SCHEMES: tuple[tuple[tuple[str, ...], Callable[[Fields, int], list[bool]]], ...] = (
    (("mlp_layer_types",), _by_words),
    (("is_moe_layer",), _by_flags),
    (("moe_layers",), _by_list),
    (("moe_layers_enum",), _by_enumeration),
    (("moe_layer_freq", "first_k_dense_replace", "num_dense_layers"), _by_switches),
    (("interleave_moe_layer_step", "moe_layer_frequency"), _by_step),
    (("moe_layer_start_index", "moe_layer_end_index", "moe_layer_interval"), _by_range),
    (("expert_layer_period",), _by_period),
    (("decoder_sparse_step", "mlp_only_layers"), _by_sparse_step),
)
_GO_FIRST = ("moe_layers",)
"""Schemes that win over others without a contradiction, as the family's code has it."""
