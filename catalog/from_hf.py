"""A model from its Hugging Face `config.json`: by catalog name, path or hub id."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from catalog.config_fields import Fields
from catalog.config_file import (
    HF_ID,
    cache_directory,
    cached_config,
    fetch_config,
    printable,
    read_config,
)
from catalog.decoder_config import decoder
from catalog.errors import BadFile, UnknownName, closest
from catalog.families import ARCHITECTURES, FAMILIES, UNKNOWN
from catalog.model_table import HINT, MODELS, find_model
from catalog.models import Model
from catalog.switch_config import switch
from catalog.xai_config import is_xai, to_hugging_face

# Layers of other kinds than attention and feed-forward: a count without them would be wrong.
_UNCOUNTED = ("mamba", "ssm_", "linear_", "rwkv", "index_n_heads", "attn_layer_", "hybrid_")


def model_from_config(
    config: Mapping[str, object], *, name: str, where: object | None = None
) -> Model:
    """Return the architecture a config describes; `where` names the file in errors.

    Code that the config points at (`auto_map`) is never loaded. A `model_type` without a family
    here is read by the common keys, and its `source` says so.
    """
    place = where or name
    fields = Fields(config, where=place)
    if is_xai(fields):
        fields = to_hugging_face(fields)
    inner = fields.nested("text_config")
    if inner is not None and not fields.has("hidden_size", "d_model"):
        fields = inner
    model_type = _model_type(fields)
    if model_type == "switch_transformers":
        return switch(fields, name=name, source=f"{place} (switch_transformers)")
    family = FAMILIES.get(model_type)
    if family is None:
        return _unknown(fields, model_type, name=name)
    return decoder(fields, family, name=name, source=f"{place} ({model_type})")


def load_model(text: str) -> Model:
    """Return a model by catalog name or alias, path of a config or its directory, or hub id."""
    name = text.strip()
    row = find_model(name)
    if row is not None:
        return row
    path = _existing(name)
    if path is not None:
        return _from_file(path)
    if HF_ID.fullmatch(name):
        return _from_hub(name)
    if name.endswith(".json") or name.startswith(("/", "./", "../", "~")):
        raise BadFile(printable(Path(name)), "does not exist")
    raise UnknownName("model", text, MODELS, hint=HINT)


def _model_type(fields: Fields) -> str:
    """Return the family's name; some configs borrow another's and differ in their class."""
    named = fields.sequence("architectures")
    borrowed = (
        ARCHITECTURES[name] for name in named if isinstance(name, str) and name in ARCHITECTURES
    )
    model_type = next(borrowed, fields.text("model_type"))
    if model_type == "llada" and fields.has("expert_intermediate_size"):
        return "llada_moe"
    return model_type


def _unknown(fields: Fields, model_type: str, *, name: str) -> Model:
    strange = fields.starts_with(*_UNCOUNTED)
    if strange:
        raise fields.bad(strange, "layers of this kind cannot be counted; add a row by hand")
    if fields.boolean("is_encoder_decoder", default=False):
        raise fields.bad("is_encoder_decoder", "this family cannot be counted; add a row by hand")
    source = f"{fields.where} (unknown model_type {model_type!r}: biases and norms may be missed)"
    return decoder(fields, UNKNOWN, name=name, source=source)


def _existing(name: str) -> Path | None:
    if not name:
        return None
    try:
        path = Path(name).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long, no such user, a null byte
        return None


def _from_file(path: Path) -> Model:
    if path.is_dir():
        directory, path = path, path / "config.json"
        if not path.exists():
            raise BadFile(printable(directory), "holds no config.json")
    return model_from_config(read_config(path), name=_name(path), where=printable(path))


def _name(path: Path) -> str:
    """Return the model's name from where its config lies: its directory, or the cached hub id."""
    directory = path.parent.resolve()
    if directory.parent.name == "snapshots":
        return directory.parent.parent.name.removeprefix("models--").replace("--", "/")
    return directory.name if path.name == "config.json" else path.stem


def _from_hub(hf_id: str) -> Model:
    path = cached_config(hf_id)
    if path is None:
        try:
            path = fetch_config(hf_id)
        except ConnectionError as error:
            raise _not_found(hf_id, error) from error
    found = model_from_config(read_config(path), name=hf_id, where=printable(path))
    return msgspec.structs.replace(found, hf_id=hf_id)


def _not_found(hf_id: str, reason: ConnectionError) -> BadFile:
    close = closest(hf_id, MODELS)
    guess = f" Did you mean {' or '.join(close)}?" if close else ""
    return BadFile(
        hf_id,
        f"no model of the catalog, no path, not in {cache_directory()}, and fetching its config "
        f"failed ({reason}).{guess} Get it with `hf download {hf_id} config.json`, or give the "
        "path of its config.json.",
    )
