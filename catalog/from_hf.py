"""A model from its Hugging Face `config.json`: by catalog name, path or hub id."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from catalog.errors import BadFile, NotCounted, UnknownName, closest
from catalog.kept import catalog_names, find_kept, other_names
from catalog.model_table import HINT, find_model
from catalog.models import Model
from catalog.reader.class_defaults import class_defaults
from catalog.reader.decoder import decoder
from catalog.reader.families import (
    ARCHITECTURES,
    FAMILIES,
    NO_CLASS,
    NOT_DECODERS,
    SAME_AS,
    UNKNOWN,
)
from catalog.reader.fields import Fields, MissingKey, printable_key
from catalog.reader.file import (
    HF_ID,
    ConfigFile,
    cache_directory,
    cached_config,
    config_at,
    fetch_config,
    printable,
)
from catalog.reader.notes import doubts, notes_on, uncounted, warn_once
from catalog.reader.quantisation import quantisation
from catalog.reader.switch import switch
from catalog.reader.unread import assumed_sizes, unread_sizes
from catalog.reader.wrapper import unwrapped
from catalog.reader.xai import is_xai, to_hugging_face


def model_from_config(
    config: Mapping[str, object],
    *,
    name: str,
    where: object | None = None,
    beside: Mapping[str, object] | None = None,
) -> Model:
    """Return the architecture a config describes; `where` names the file in errors.

    `beside` is the `hf_quant_config.json` of the same directory. Code that the config points at
    (`auto_map`) is never loaded. A `model_type` without a family here is read by the common keys,
    and `counted` says so. What the config says that no count here knows is a NotCounted error.
    """
    place = where or name
    fields = Fields(config, where=place)
    if is_xai(fields):
        fields = to_hugging_face(fields)
    fields = unwrapped(fields)
    model_type = _model_type(fields)
    if model_type == "switch_transformers":
        return switch(fields, name=name, source=f"{place} (switch_transformers)")
    if fields.boolean("is_encoder_decoder", default=False):
        raise fields.uncounted("is_encoder_decoder", "this family cannot be counted")
    fields = fields.with_defaults(class_defaults(_class_of(fields, model_type)))
    quantised = quantisation(fields, beside)
    family = FAMILIES.get(model_type)
    source = f"{place} ({model_type})"
    if family is None:
        _refuse_unknown(fields, model_type)
        source = f"{place} (unknown model_type {model_type!r}: biases and norms may be missed)"
    try:
        found = decoder(fields, family or UNKNOWN, name=name, source=source, quantised=quantised)
    except MissingKey as error:
        if family is not None or not model_type:
            raise
        why = f"{model_type!r} is not known here, and the common keys do not say it all"
        raise NotCounted(place, ("model_type",), why) from error
    _refuse_unread(fields, model_type)
    return msgspec.structs.replace(found, notes=notes_on(found, model_type, fields, quantised))


def load_model(text: str) -> Model:
    """Return a model by catalog name or alias, path of a config or its directory, or hub id.

    NotCounted where its sizes, or the bytes its weights take, are not known: `read_model` then
    gives what is. A model that is read by common keys is told of in a warning, once.
    """
    found, refusal = _read(text)
    if refusal is not None:
        raise refusal
    _tell(found)
    return found


def read_model(text: str) -> Model:
    """Return a model as `load_model` does, counted or not, with a warning of what is not known.

    One that cannot be counted has its vocabulary and longest context where the config says them,
    `counted` "no", and sizes of no meaning.
    """
    found, _ = _read(text)
    _tell(found)
    return found


def _tell(found: Model) -> None:
    if doubt := doubts(found):
        warn_once(f"{found.name}: {doubt}")


def _read(text: str) -> tuple[Model, NotCounted | None]:
    """Return what is known of a model, and why no estimate can be made of it."""
    name = text.strip()
    row = find_model(name)
    if row is not None:
        return row, None
    file = _file_of(name, text)
    try:
        found = model_from_config(file.config, name=file.name, where=file.where, beside=file.beside)
    except NotCounted as error:
        return uncounted(file, error), error
    source = file.source or found.source
    found = msgspec.structs.replace(found, hf_id=file.hf_id, source=source)
    if found.sized:
        return found, None
    return found, NotCounted(file.where, ("quantization_config",), doubts(found))


def _file_of(name: str, text: str) -> ConfigFile:
    path = _existing(name)
    if path is not None:
        return config_at(path)
    if kept := find_kept(name):
        return kept.file()
    if HF_ID.fullmatch(name):
        return _from_hub(name)
    if name.endswith(".json") or name.startswith(("/", "./", "../", "~")):
        raise BadFile(printable(Path(name)), "does not exist")
    raise UnknownName("model", text, catalog_names(), also=other_names(), hint=HINT)


def _model_type(fields: Fields) -> str:
    """Return the family's name; some configs borrow another's and differ in their class."""
    named = fields.sequence("architectures")
    borrowed = (
        ARCHITECTURES[name] for name in named if isinstance(name, str) and name in ARCHITECTURES
    )
    model_type = next(borrowed, fields.text("model_type"))
    if model_type == "llada" and fields.has("expert_intermediate_size"):
        return "llada_moe"
    if model_type == "grok-1" and fields.has("residual_moe"):
        return "grok-2"
    return SAME_AS.get(model_type, model_type)


def _class_of(fields: Fields, model_type: str) -> str:
    """Return the name of the configuration class whose defaults fill what is left out."""
    return model_type if model_type in NO_CLASS else fields.text("model_type")


def _refuse_unread(fields: Fields, model_type: str) -> None:
    """Refuse what the file or its class says of sizes that no count asked for."""
    unread = tuple(printable_key(key) for key in unread_sizes(fields))
    if unread:
        raise NotCounted(
            fields.where,
            unread,
            f"not known of model_type {model_type!r}, and may bear on its size",
        )
    assumed = assumed_sizes(fields)
    if assumed:
        why = f"left out, and what the class of {model_type!r} then takes is not counted here"
        raise NotCounted(fields.where, assumed, why)


def _refuse_unknown(fields: Fields, model_type: str) -> None:
    """Refuse what the common keys cannot describe."""
    if model_type in NOT_DECODERS:
        raise fields.uncounted(
            "model_type", f"{model_type!r} is not a decoder that is counted here"
        )


def _existing(name: str) -> Path | None:
    if not name:
        return None
    try:
        path = Path(name).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long, no such user, a null byte
        return None


def _from_hub(hf_id: str) -> ConfigFile:
    path = cached_config(hf_id)
    if path is None:
        try:
            path = fetch_config(hf_id)
        except ConnectionError as error:
            raise _not_found(hf_id, error) from error
    return replace(config_at(path), name=hf_id, hf_id=hf_id)


def _not_found(hf_id: str, reason: ConnectionError) -> BadFile:
    close = closest(hf_id, [*catalog_names(), *other_names()])
    guess = f" Did you mean {' or '.join(close)}?" if close else ""
    return BadFile(
        hf_id,
        f"no model of the catalog, no path, not in {cache_directory()}, and fetching its config "
        f"failed ({reason}).{guess} Get it with `hf download {hf_id} config.json`, or give the "
        "path of its config.json.",
    )
