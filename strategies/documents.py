"""Small files that people write: YAML, JSON or TOML, decoded or refused in one line."""

import json
import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from catalog.errors import BadFile
from catalog.named_file import text_named

LARGEST_FILE_BYTES = 1_000_000
MOST_VALUES = 10_000
"""Of a YAML file; reading takes some 50 µs for each."""


def read_yaml(path: Path, what: str) -> object:
    """Decode a YAML file; `what` is in errors what it should have been of."""
    return _decoded(path, what, "YAML", _from_yaml)


def read_document(path: Path, what: str) -> object:
    """Decode a file by its name: `.json`, `.toml`, else YAML."""
    format_, decode = _FORMATS.get(path.suffix.lower(), ("YAML", _from_yaml))
    return _decoded(path, what, format_, decode)


def _decoded(path: Path, what: str, format_: str, decode: Callable[[str], object]) -> object:
    text = text_named(path, f"{what} file", most_bytes=LARGEST_FILE_BYTES)
    try:
        return decode(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadFile(path, f"is not {format_}: {' '.join(str(error).split())}") from error


def _from_yaml(text: str) -> object:
    return yaml.load(text, Loader=_Loader)  # noqa: S506 (safe subclass)


def _from_json(text: str) -> object:
    return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object whose keys stand once."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = _first_twice(key for key, _ in pairs)
        raise ValueError(f"key {twice!r} stands twice")
    return found


def _first_twice(keys: Iterable[str]) -> str | None:
    """Return the first key that has stood before."""
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    return None


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


_FORMATS: dict[str, tuple[str, Callable[[str], object]]] = {
    ".json": ("JSON", _from_json),
    ".toml": ("TOML", tomllib.loads),
}


def _without_base_60() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """The plain values of YAML 1.1, but numbers as in YAML 1.2: `32:32:16` is text.

    1.1 reads it as 32·60² + 32·60 + 16. A pattern of it is a list of forms; one has the colon.
    """
    numbers = {f"tag:yaml.org,2002:{kind}" for kind in ("int", "float")}
    return {
        first: [
            (tag, re.compile(_forms(pattern), re.VERBOSE) if tag in numbers else pattern)
            for tag, pattern in patterns
        ]
        for first, patterns in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _forms(pattern: re.Pattern[str]) -> str:
    body = pattern.pattern.removeprefix("^(?:").removesuffix(")$")
    return f"^(?:{'|'.join(form for form in _parts(body) if '(?::' not in form)})$"


def _parts(body: str) -> list[str]:
    """The alternatives of a pattern, which stand on a line each."""
    return [line.strip().removeprefix("|") for line in body.splitlines()]


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys and aliases, which nothing here has a use for."""

    yaml_implicit_resolvers = _without_base_60()
    _values = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("anchors and aliases are not allowed")
        self._values += 1
        if self._values > MOST_VALUES:
            raise yaml.YAMLError(f"holds more than {MOST_VALUES:,} keys and values")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        # A key that is a list or a mapping has no hash: it is refused below as such.
        keys = [key.value for key, _ in node.value if isinstance(key.value, str)]
        twice = _first_twice(keys)
        if twice is not None:
            line = node.start_mark.line + 1
            raise yaml.YAMLError(f"key {twice!r} stands twice in the mapping at line {line}")
        return super().construct_mapping(node, deep)
