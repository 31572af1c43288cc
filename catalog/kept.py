"""Configurations that the catalog keeps, by name: `data/models/FAMILY.json`, each with its source.

One is read as any `config.json` is; it lies here so that its name needs no network. Their names are
read when one is asked for that `model_table` lacks, and a configuration only when it is the one.
"""

import functools
from importlib import resources

import msgspec

from catalog.counts import Counts
from catalog.model_table import ALIASES, MODELS
from catalog.reader.file import ConfigFile


class Kept(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A published checkpoint: its configuration, reduced to the keys that bear on sizes."""

    name: str
    hf_id: str
    aliases: tuple[str, ...] = ()
    source: str
    counts: Counts
    """What the reader makes of it, for lists: reading all would take seconds. A test compares."""
    config: msgspec.Raw
    hf_quant_config: msgspec.Raw = msgspec.Raw()

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, self.hf_id, *self.aliases)

    def file(self) -> ConfigFile:
        beside = self.hf_quant_config
        return ConfigFile(
            config=msgspec.json.decode(self.config, type=dict[str, object]),
            name=self.name,
            where=self.hf_id,
            beside=msgspec.json.decode(beside, type=dict[str, object]) if bytes(beside) else None,
            hf_id=self.hf_id,
            source=self.source,
        )


@functools.cache
def kept_models() -> tuple[Kept, ...]:
    """Return every kept configuration, family by family."""
    files = resources.files("catalog").joinpath("data/models").iterdir()
    named = sorted((each for each in files if each.name.endswith(".json")), key=lambda at: at.name)
    texts = [each.read_bytes() for each in named]
    return tuple(row for text in texts for row in msgspec.json.decode(text, type=list[Kept]))


def find_kept(name: str) -> Kept | None:
    """Return a kept configuration by its name, an alias or its Hugging Face id, in any case."""
    return _by_lower().get(name.strip().lower())


@functools.cache
def _by_lower() -> dict[str, Kept]:
    return {name.lower(): row for row in kept_models() for name in row.names}


def catalog_names() -> list[str]:
    """Return the name of every model that is known by name."""
    return [*MODELS, *(row.name for row in kept_models())]


def other_names() -> list[str]:
    """Return what the same models are called as well: aliases and Hugging Face ids."""
    ids = [row.hf_id for row in MODELS.values() if row.hf_id]
    return [*ALIASES, *ids, *(name for row in kept_models() for name in row.names[1:])]
