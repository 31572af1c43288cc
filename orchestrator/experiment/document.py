"""An experiment's file as people write it: single values, lists and numbers where text is meant."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args, get_type_hints

import msgspec

from catalog.errors import closest
from workloads.figures.goodput import parse_goodput
from workloads.load.concurrency import parse_rates

LISTS = ("models", "strategies", "techniques", "workloads", "request_rates")
LISTS_IN = {"server": ("args", "command"), "endpoint_options": ("omit_fields",)}
TEXTS = ("concurrency",)
"""Fields that hold a list as text: `1,4,8`."""
_MISSED = re.compile(r"unknown field `([^`]*)`(?: - at `\$\.?([^`]*)`)?$")
_WRONG = re.compile(r"Expected `([^`]*)`, got `([^`]*)`(?: - at `\$\.?([^`]*)`)?$")
_NO_WORD = re.compile(r"\AInvalid enum value (.*) - at `\$\.?([^`]*)`$")
KINDS = {
    "str": "text", "int": "a whole number", "float": "a number", "bool": "true or false",
    "object": "fields (name: value)", "array": "a list", "null": "nothing", "NoneType": "nothing",
    "date": "a date",
}  # fmt: skip
"""Of what JSON and Python call so, the words of somebody who writes YAML."""
QUOTED = ("int", "float", "bool", "date")
"""What a text without quotes may be taken for."""


def as_fields(document: object) -> object:
    """Give each value the form of its field, where that is plain from what was written."""
    if not isinstance(document, dict):
        return document
    made = dict(document)
    for key, value in document.items():
        if key in LISTS:
            made[key] = _rates(value) if key == "request_rates" else _listed(value)
        elif key in TEXTS:
            made[key] = _as_text(value)
        elif key == "goodput" and isinstance(value, str | list):
            made[key] = _limits(value)
        elif key in LISTS_IN and isinstance(value, dict):
            own = {name: _listed(value[name]) for name in LISTS_IN[key] if name in value}
            made[key] = {**value, **own}
    return made


def _listed(value: object) -> object:
    """Let a single value stand where a list is meant: `strategies: tp`."""
    return [value] if isinstance(value, str | float | int) else value


def _rates(value: object) -> object:
    return list(parse_rates(value)) if isinstance(value, str) else _listed(value)


def _as_text(value: object) -> object:
    """`[1, 4, 8]`, `4` and `[1, "8..32"]` are the text of the flag."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list) and value and all(type(each) in (int, str) for each in value):
        return ",".join(map(str, value))
    return value


def _limits(value: str | list[Any]) -> object:
    """`ttft:200 tpot:50`, or a list of such."""
    texts = [value] if isinstance(value, str) else value
    return parse_goodput(texts) if all(isinstance(each, str) for each in texts) else value


def explained(problem: str, of: type[msgspec.Struct]) -> str:
    """Say of a problem with a file where it is in its own words, and what may have been meant."""
    if missed := _MISSED.search(problem):
        name, place = missed[1], missed[2] or ""
        struct = _struct_at(of, place)
        known = tuple(struct.__struct_fields__)
        close = _singular(name, known) or closest(name, known)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        where = f"{place}: " if place else ""
        return f"{where}unknown field `{name}`.{hint} Fields: {', '.join(known)}"
    if wrong := _WRONG.search(problem):
        expected, got, place = wrong[1].split(" | "), wrong[2], wrong[3] or "the file"
        quotes = ", which is a text in quotes" if "str" in expected and got in QUOTED else ""
        return f"{place}: expected {_kinds(expected)}, got {_kinds([got])}{quotes}"
    if other := _NO_WORD.match(problem):
        place, _, field = other[2].rpartition(".")
        if allowed := _allowed(get_type_hints(_struct_at(of, place)).get(field)):
            return f"{other[2]}: got {other[1]}, allowed: {', '.join(allowed)}"
    return problem


def _allowed(hint: object) -> list[str]:
    """What a field may hold: the kinds of values, then the words that stand for others."""
    parts = get_args(hint)
    kinds = [
        KINDS[each.__name__] for each in parts if isinstance(each, type) and each.__name__ in KINDS
    ]
    words = [
        each for part in parts for each in ([part] if isinstance(part, str) else _allowed(part))
    ]
    return [kind for kind in kinds if kind != "nothing"] + words


def _kinds(names: Iterable[str]) -> str:
    """Say what a field holds; that it may hold nothing helps nobody who gave something."""
    listed = [KINDS.get(name, name) for name in names]
    return " or ".join([name for name in listed if name != "nothing"] or listed)


def _singular(name: str, known: tuple[str, ...]) -> list[str]:
    """`model` and `strategy` are one of `models` and `strategies`; `c` is nothing."""
    plural = {f"{name}s", f"{name.removesuffix('y')}ies"}
    return [each for each in known if each in plural]


def _struct_at(of: type[msgspec.Struct], place: str) -> type[msgspec.Struct]:
    """The struct that a path such as `server` or `own_gpus[0]` leads to."""
    for name in filter(None, re.sub(r"\[[^][]*\]", "", place).split(".")):
        of = next(_structs(get_type_hints(of).get(name)), of)
    return of


def _structs(hint: object) -> Iterator[type[msgspec.Struct]]:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        yield hint
    for part in get_args(hint):
        yield from _structs(part)


def shorthand(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Let the JSON schema of an experiment allow what `as_fields` does."""
    fields = dict(schema)
    for key in LISTS:
        items = fields[key].get("items", {})
        single = [items, {"type": "string"}] if key == "request_rates" else [items]
        fields[key] = _either(fields[key], single)
    for key in TEXTS:
        levels = {"type": "array", "items": {"type": ["integer", "string"]}}
        fields[key] = _either(fields[key], [{"type": "integer"}, levels])
    texts = {"type": "string"}
    fields["goodput"] = _either(fields["goodput"], [texts, {"type": "array", "items": texts}])
    return fields


def _either(one: Mapping[str, Any], others: list[Mapping[str, Any]]) -> dict[str, Any]:
    """A field of several forms; what is said of the field stands once."""
    about = {key: one[key] for key in ("description", "default") if key in one}
    own = {key: value for key, value in one.items() if key not in about}
    return {**about, "anyOf": [*own.get("anyOf", [own]), *others]}
