"""The text decoder inside a config that wraps it, with what stands outside of it kept."""

from catalog.reader.decoder import HIDDEN
from catalog.reader.fields import Fields

WRAPPERS = (
    "text_config", "llm_config", "language_config", "language_model", "thinker_config",
    "text_model_config", "llm", "decoder",
)  # fmt: skip
_OUTSIDE = ("quantization_config", "compression_config", "quantization", "dtype", "torch_dtype")
_DEEPEST = 4


_PARTS = ("attn_config", "ffn_config")


def flat(fields: Fields) -> Fields:
    """Return the fields with the sizes that stand in objects of their own (DBRX, MPT)."""
    inner: dict[str, object] = {}
    for key in _PARTS:
        if fields.is_object(key):
            part = fields.nested(key)
            assert part is not None
            inner |= {name: part.raw(name) for name in part.keys}
    if not inner:
        return fields
    unset = {key: value for key, value in inner.items() if not fields.given(key)}
    return fields.overlaid(unset | dict.fromkeys(_PARTS))


def unwrapped(fields: Fields) -> Fields:
    """Return the innermost text config; quantisation, data type and tying of the outer one kept.

    The outer `tie_word_embeddings` wins: it is the one that transformers ties by.
    """
    for _ in range(_DEEPEST):
        inner = _inside(fields)
        if inner is None:
            return flat(fields)
        kept: dict[str, object] = {}
        for key in _OUTSIDE:
            if fields.given(key) and not inner.given(key):
                kept[key] = fields.raw(key)
        for key in ("tie_word_embeddings", "is_encoder_decoder"):
            if fields.given(key):
                kept[key] = fields.raw(key)
        if not inner.given("model_type") and fields.given("model_type"):
            kept["model_type"] = fields.raw("model_type")
        fields = inner.overlaid(kept)
    return flat(fields)


def _inside(fields: Fields) -> Fields | None:
    for key in WRAPPERS:
        if fields.is_object(key):
            inner = fields.nested(key)
            if inner is not None and (_sized(inner) or not fields.given(*HIDDEN)):
                return inner
    return None


def _sized(fields: Fields) -> bool:
    return fields.given(*HIDDEN) or any(map(fields.is_object, WRAPPERS))
