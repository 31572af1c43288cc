"""The bytes of each part of a checkpoint, module by module, as its quantisation stores them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from catalog.attention import FixedState, Mixer
from catalog.models import Block, Dense, Model, Stored
from catalog.reader.quantisation import Quantisation
from catalog.reader.schemes import Scheme

_STATE_NAMES = {
    "gated-delta": ("linear_attn",),
    "kimi-delta": ("self_attn", "linear_attn"),
    "lightning": ("self_attn", "linear_attn"),
    "mamba": ("mamba", "mixer"),
    "mamba2": ("mamba", "mixer"),
    "convolution": ("conv", "short_conv"),
    "rg-lru": ("temporal_block",),
}
_ATTENTION_NAMES = ("self_attn", "attention", "mixer", "attn")
_DENSE_NAMES = ("mlp", "feed_forward", "mixer", "ffn", "residual_mlp")
_SHARED = ("shared_experts", "shared_expert", "shared_mlp", "share_expert")
_SHARED_NAMES = (
    *(
        f"{outer}.{inner}"
        for outer in ("mlp", "feed_forward", "block_sparse_moe", "mixer", "ffn", "moe")
        for inner in _SHARED
    ),
    *_SHARED,
)
_EXPERT_NAMES = tuple(
    f"{outer}.experts.0"
    for outer in ("mlp", "block_sparse_moe", "feed_forward", "mixer", "ffn", "moe")
)
_GEMMA_EXPERTS = ("experts.0", "moe.experts.0")
_FEED_LEAVES = (
    ("gate_proj", "gate_up_proj", "w1", "gate_and_up_proj"),
    ("up_proj", "gate_up_proj", "w3", "gate_and_up_proj"),
    ("down_proj", "w2"),
)
# Projections that some code fuses under another name.
_FUSED = {
    "q_proj": ("qkv_proj", "query_key_value"),
    "k_proj": ("qkv_proj", "query_key_value"),
    "v_proj": ("qkv_proj", "query_key_value"),
    "o_proj": ("out_proj", "dense"),
    "in_proj_qkv": ("in_proj_qkvz",),
    "in_proj_z": ("in_proj_qkvz",),
    "in_proj_b": ("in_proj_ba",),
    "in_proj_a": ("in_proj_ba",),
}
_TABLES = ("embed_tokens", "embeddings", "word_embeddings", "embed_in")
_HEADS = ("lm_head", "head", "output", "embed_out")


@dataclass
class _Tally:
    """Bits of each part so far, and how many elements each data type holds of it."""

    bits: dict[str, float] = field(default_factory=dict)
    elements: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, part: str, elements: int, scheme: Scheme) -> None:
        self.bits[part] = self.bits.get(part, 0.0) + elements * scheme.bits
        self.elements.setdefault(part, Counter())[scheme.dtype] += elements

    def most(self, *parts: str) -> str | None:
        total: Counter[str] = Counter()
        for part in parts:
            total += self.elements.get(part, Counter())
        return total.most_common(1)[0][0] if total else None


def stored_as(
    model: Model, layers: Iterable[Block], quantised: Quantisation
) -> tuple[Stored, str, str | None]:
    """Return the bytes by part, the type of most projections, and that of the experts if another.

    `layers` are the model's layers one by one: rules may name each of them.
    """
    tally = _Tally()
    small = quantised.plain
    for number, layer in enumerate(layers):
        _layer(tally, model, layer, number, quantised)
    head = quantised.of_table(_HEADS, head=True)
    tally.add("head", model.vocab * model.hidden, head)
    if not model.tied_embeddings:
        table = quantised.of_table(_TABLES, head=False)
        tally.add("embedding", model.vocab * model.hidden, table)
    tally.add("embedding", model.lookup_params, small)
    tally.add("small", model.hidden + model.extra_params, small)
    bytes_of = {part: bits / 8 for part, bits in tally.bits.items()}
    stored = Stored(
        embedding=bytes_of.get("embedding", 0.0),
        head=bytes_of["head"],
        attention=bytes_of.get("attention", 0.0) + bytes_of["small"],
        dense=bytes_of.get("dense", 0.0) + bytes_of.get("router", 0.0),
        experts=bytes_of.get("experts", 0.0),
    )
    weights = tally.most("attention", "dense") or small.dtype
    experts = tally.most("experts")
    return stored, weights, experts if experts != weights else None


def _layer(tally: _Tally, model: Model, layer: Block, number: int, quantised: Quantisation) -> None:
    at = f"layers.{number}"
    hidden, small = model.hidden, quantised.plain
    for mixer in layer.mixers:
        matrices = mixer.matrices(hidden)
        for leaf, elements in matrices.items():
            names = _names(at, _places(mixer), (leaf, *_FUSED.get(leaf, ())))
            tally.add("attention", elements, quantised.of(names))
        tally.add("small", mixer.params(hidden) - sum(matrices.values()), small)
    tally.add("small", layer.other, small)
    for part in layer.dense:
        _dense(tally, part, hidden, (at, _DENSE_NAMES), quantised)
    experts = model.experts
    if not layer.routed or experts is None:
        return
    shared = Dense(width=experts.shared_width, matrices=experts.matrices)
    _dense(tally, shared, hidden, (at, _SHARED_NAMES), quantised)
    tally.add("router", experts.shared_params(hidden) - shared.params(hidden), small)
    places = _GEMMA_EXPERTS if layer.dense else _EXPERT_NAMES
    one = (experts.space or hidden) * experts.width
    for leaves in _leaves(experts.matrices):
        scheme = quantised.of(_names(at, places, leaves), routed=True)
        tally.add("experts", experts.count * one, scheme)
    biases = experts.params_per_expert(hidden) - experts.matrices * one
    tally.add("experts", experts.count * biases, small)


def _dense(
    tally: _Tally,
    part: Dense,
    hidden: int,
    at: tuple[str, tuple[str, ...]],
    quantised: Quantisation,
) -> None:
    for leaves in _leaves(part.matrices):
        scheme = quantised.of(_names(*at, leaves))
        tally.add("dense", hidden * part.width, scheme)
    matrices = part.matrices * hidden * part.width
    tally.add("small", part.params(hidden) - matrices, quantised.plain)


def _leaves(matrices: int) -> tuple[tuple[str, ...], ...]:
    return _FEED_LEAVES if matrices == len(_FEED_LEAVES) else _FEED_LEAVES[1:]


def _places(mixer: Mixer) -> tuple[str, ...]:
    return _STATE_NAMES[mixer.kind] if isinstance(mixer, FixedState) else _ATTENTION_NAMES


def _names(at: str, places: Iterable[str], leaves: Iterable[str]) -> list[str]:
    return [f"{at}.{place}.{leaf}" for place in places for leaf in leaves]
