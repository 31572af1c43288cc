"""What a reader of a model's counts should know, in sentences."""

import functools
import logging

import msgspec

from catalog.errors import NotCounted
from catalog.models import UNKNOWN_DTYPE, GroupedQueryAttention, Model
from catalog.reader.decoder import CONTEXT, TYING
from catalog.reader.fields import Fields
from catalog.reader.file import ConfigFile
from catalog.reader.quantisation import Quantisation
from catalog.reader.wrapper import unwrapped

UNKNOWN_VOCAB = 512
"""Every vocabulary in use is at least this large."""
_LOG = logging.getLogger(__name__)


@functools.lru_cache(maxsize=256)
def warn_once(text: str) -> None:
    """Say a sentence on standard error, unless the program's logging sends it elsewhere."""
    _LOG.warning(text)


def uncounted(file: ConfigFile, error: NotCounted) -> Model:
    """Return what is known of a model that no count here describes: vocabulary and context."""
    fields = unwrapped(Fields(file.config, where=file.where))
    why = f"{', '.join(error.keys)}: {error.problem}; so it is not counted, and no estimate made"
    return msgspec.structs.replace(
        stand_in(file.name, why, source=file.source or file.where),
        hf_id=file.hf_id,
        vocab=_known(fields, "vocab_size") or UNKNOWN_VOCAB,
        max_context=_known(fields, "model_max_length", *CONTEXT) or 0,
        unread=error.keys,
    )


def stand_in(name: str, why: str, *, source: str) -> Model:
    """Return a model of which nothing is known but that it is served."""
    return Model(
        name=name,
        hf_id=None,
        layers=1,
        hidden=1,
        vocab=UNKNOWN_VOCAB,
        attention=GroupedQueryAttention(heads=1, kv_heads=1, head_dim=1),
        experts=None,
        dense_width=1,
        tied_embeddings=True,
        max_context=0,
        weight_dtype=UNKNOWN_DTYPE,
        counted="no",
        notes=(why,),
        source=source,
    )


def _known(fields: Fields, *keys: str) -> int | None:
    value = fields.raw(*keys)
    plain = isinstance(value, int) and not isinstance(value, bool)
    return value if plain and isinstance(value, int) and 0 < value <= 10**9 else None


def notes_on(
    model: Model, model_type: str, fields: Fields, quantised: Quantisation
) -> tuple[str, ...]:
    found = []
    if quantised.unknown:
        found.append(f"{quantised.unknown}: how its weights are stored is not known")
    if model.counted == "generic":
        head = " and its head is taken to be its embedding, of which it says nothing"
        silent = model.tied_embeddings and not fields.has(*TYING)
        found.append(
            f"model_type {model_type!r} is read by the keys that most families share: "
            f"biases, norms and what no key names may be missed{head if silent else ''}"
        )
    if not model.max_context:
        found.append("its longest sequence is not told: lengths are not checked")
    if model.state_elements:
        found.append("fixed state of 2 bytes an element; servers may keep it in 4")
    if model.kv_dtype is not None:
        found.append(
            f"its file asks for a cache in {model.kv_dtype}, and so vLLM keeps it unless "
            "--kv-cache-dtype says otherwise"
        )
    elif quantised.cache is not None:
        found.append(
            "its file asks for a cache of fewer bits, which vLLM does not keep by itself; "
            "counted in 16"
        )
    if fields.given("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules"):
        found.append("without layers that predict several tokens")
    return tuple(found)


def doubts(model: Model) -> str:
    """Return what makes a model's counts doubtful or missing; empty where nothing does.

    Those notes come before all others.
    """
    count = (model.weight_dtype == UNKNOWN_DTYPE) + (model.counted == "generic")
    return "; ".join(model.notes[: max(count, model.counted == "no")])
