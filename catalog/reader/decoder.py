"""A decoder-only model from its config: its layers one by one, then runs of equal ones."""

from collections.abc import Sequence
from itertools import groupby

import msgspec

from catalog.attention import Attention, GroupedQueryAttention, LatentAttention, Mixer
from catalog.models import UNKNOWN_DTYPE, Block, Model
from catalog.reader.family import Family
from catalog.reader.feed_forward import FeedForward, feed_forward
from catalog.reader.fields import Fields
from catalog.reader.mixers import mixers
from catalog.reader.quantisation import Quantisation
from catalog.reader.stored import stored_as
from catalog.reader.words import blocks

HIDDEN = ("hidden_size", "d_model", "n_embd")
LAYERS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")
CONTEXT = (
    "max_position_embeddings", "max_sequence_length", "n_positions", "seq_length", "max_seq_len",
    "max_seq_length", "seq_len",
)  # fmt: skip
TYING = ("weight_tying", "tie_embedding", "tie_word_embeddings")
MOST_LAYERS = 10_000
MOST_SCALING = 10_000
SCALES_ON_TOP = ("linear", "dynamic", "ntk")


def decoder(
    fields: Fields, family: Family, *, name: str, source: str, quantised: Quantisation
) -> Model:
    hidden = fields.integer(*HIDDEN)
    layers = layer_count(fields)
    fields.skip(*family.ignored)
    mixed = mixers(fields, family, hidden=hidden, layers=layers)
    borrowing = fields.integer("num_kv_shared_layers", default=0, least=0, most=layers)
    feed = feed_forward(fields, family, hidden=hidden, layers=layers, borrowing=borrowing)
    each = [_layer(fields, family, hidden, mixed[layer], feed, layer) for layer in range(layers)]
    model = Model(
        name=name,
        hf_id=None,
        layers=layers,
        hidden=hidden,
        vocab=fields.integer("vocab_size"),
        attention=_main(fields, mixed),
        experts=feed.experts,
        dense_width=max((p.width for parts in feed.dense for p in parts), default=0),
        dense_matrices=family.matrices,
        blocks=_runs(each),
        tied_embeddings=_tied(fields, family),
        max_context=context(fields),
        norms_per_layer=family.norms_per_layer,
        lookup_params=_lookups(fields, layers),
        kind=family.kind,
        counted="exact" if family.compared else "generic",
        source=source,
    )
    model = msgspec.structs.replace(model, extra_params=_extra(fields, family, model))
    latent = isinstance(model.attention, LatentAttention)
    kv_dtype = quantised.cache.kept(latent=latent) if quantised.cache else None
    stored, weights, experts = stored_as(model, each, quantised)
    model = msgspec.structs.replace(
        model,
        stored=stored,
        weight_dtype=weights,
        expert_dtype=experts,
        integer_activations=quantised.integer_activations,
        kv_dtype=kv_dtype,
    )
    return _described(model, quantised)


def context(fields: Fields) -> int:
    """Return the longest sequence, 0 if it is not told; linear and dynamic scaling come on top.

    YaRN, Llama 3's and LongRoPE's configs give it scaled already, and Gemma 3's all do. Of several
    lengths the least counts, but `model_max_length` goes before them all: as vLLM reads them.
    """
    longest = _longest(fields)
    if fields.text("model_type").startswith("gemma3"):
        return longest
    for key in ("rope_scaling", "rope_parameters"):
        for scaling in _scalings(fields, key):
            factor = scaling.raw("factor") if _rope_type(scaling) in SCALES_ON_TOP else None
            if isinstance(factor, int | float) and not isinstance(factor, bool) and factor >= 1:
                return int(longest * min(factor, MOST_SCALING))
    return longest


def _scalings(fields: Fields, key: str) -> list[Fields]:
    """Return the object under a key and those in it: transformers 5 has one a kind of layer."""
    whole = fields.nested(key) if fields.is_object(key) else None
    inner = [whole.nested(name) for name in whole.keys if whole.is_object(name)] if whole else []
    return [each for each in (whole, *inner) if each is not None]


def _longest(fields: Fields) -> int:
    if fields.given("model_max_length"):  # Command R's, beside a shorter one
        fields.skip(*CONTEXT)
        return fields.integer("model_max_length")
    given = [fields.integer(key) for key in CONTEXT if fields.given(key)]
    return min(given) if given else fields.integer(*CONTEXT, default=0)


def _rope_type(scaling: Fields) -> str:
    named = scaling.raw("rope_type", "type")
    return named if isinstance(named, str) else ""


def layer_count(fields: Fields) -> int:
    """Return how many layers there are: given, or as many as a list of them names."""
    named = blocks(fields)
    if named and not fields.given(*LAYERS):
        return min(len(named), MOST_LAYERS)
    layers = fields.integer(*LAYERS, most=MOST_LAYERS)
    if named and len(named) != layers:
        key = (
            "layers_block_type" if fields.given("layers_block_type") else "hybrid_override_pattern"
        )
        raise fields.bad(key, f"{len(named)} entries for {layers} layers")
    return layers


def _layer(
    fields: Fields,
    family: Family,
    hidden: int,
    mixed: tuple[Mixer, ...],
    feed: FeedForward,
    layer: int,
) -> Block:
    routed, dense = feed.routed[layer], feed.dense[layer]
    norms = family.norms_per_layer + (family.moe_norms if routed else 0)
    if routed and dense:
        norms += family.norms_beside
    other = norms * hidden * (2 if family.norm_bias else 1)
    other += family.layer_small
    space = fields.integer("hidden_size_per_layer_input", default=0, least=0)
    if space:
        other += 2 * hidden * space + hidden
    if family.twofold:
        mixed = mixed * 2
    return Block(count=1, mixers=mixed, dense=dense, routed=routed, other=other)


def _runs(each: Sequence[Block]) -> tuple[Block, ...]:
    return tuple(
        msgspec.structs.replace(block, count=len(list(run))) for block, run in groupby(each)
    )


def _main(fields: Fields, mixed: Sequence[tuple[Mixer, ...]]) -> Attention:
    """Return the attention that sees the whole context, else the first that there is."""
    found = [mixer for layer in mixed for mixer in layer if mixer.kv_elements]
    whole = [mixer for mixer in found if mixer.window is None]
    main = next(iter(whole or found), None)
    if main is None or not isinstance(main, Attention):
        raise fields.uncounted("layer_types", "no layer has attention")
    windows = {mixer.window for mixer in found if mixer.window is not None}
    if len(windows) > 1:
        raise fields.uncounted("layer_types", f"windows of {sorted(windows)} tokens in one model")
    return main


def _tied(fields: Fields, family: Family) -> bool:
    key = next(filter(fields.has, TYING), TYING[-1])
    fields.supersede(*TYING)
    return fields.boolean(key, default=family.tied_default)


def _lookups(fields: Fields, layers: int) -> int:
    """A small embedding of each token for each layer (Gemma 3n)."""
    space = fields.integer("hidden_size_per_layer_input", default=0, least=0)
    vocab = fields.integer("vocab_size_per_layer_input", default=0, least=0)
    return vocab * layers * space


def _extra(fields: Fields, family: Family, model: Model) -> int:
    """Head bias, more or fewer vectors in the final norm than one, per-layer embeddings' way in."""
    extra = (family.final_norm - 1) * model.hidden
    head_bias = family.head_bias
    if family.head_bias_key:
        head_bias = fields.boolean(family.head_bias_key, default=False)
    extra += model.vocab if head_bias else 0
    extra += model.hidden if family.embedding_norm else 0
    space = fields.integer("hidden_size_per_layer_input", default=0, least=0)
    if space:
        extra += model.layers * space * model.hidden + space
    return extra


def _described(model: Model, quantised: Quantisation) -> Model:
    """Describe the attention as a model of equal layers does; leave out blocks that say no more."""
    if quantised.unknown:
        model = msgspec.structs.replace(model, stored=None, weight_dtype=UNKNOWN_DTYPE)
    attention = model.attention
    near = [(count, mixer) for count, mixer in model.mixers if mixer.window is not None]
    if isinstance(attention, GroupedQueryAttention) and near:
        layers = sum(count for count, _ in near)
        attention = msgspec.structs.replace(
            attention, window=model.window, windowed_layers=layers, chunked=False
        )
    short = msgspec.structs.replace(model, blocks=(), attention=attention)
    if short.stack == model.stack:
        return short
    return msgspec.structs.replace(model, attention=attention)
