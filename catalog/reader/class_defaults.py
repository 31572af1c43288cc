"""What the configuration classes of transformers assume where a `config.json` leaves a key out.

`class_defaults.json` holds those of version 5.19 that bear on size, by `model_type`.
"""

import functools
from collections.abc import Mapping
from importlib import resources

import msgspec

_EMPTY: Mapping[str, object] = {}


def class_defaults(model_type: str) -> Mapping[str, object]:
    """Return a family's defaults of the keys that bear on size; empty where none are known."""
    return _table().get(model_type, _EMPTY)


def known_classes() -> tuple[str, ...]:
    return tuple(_table())


@functools.cache
def _table() -> dict[str, dict[str, object]]:
    text = resources.files("catalog.reader").joinpath("class_defaults.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, dict[str, object]])
