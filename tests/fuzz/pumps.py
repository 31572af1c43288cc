"""Strings that make a pattern with a way back take it again and again.

A pattern that is quadratic or worse is so on a string of the form `prefix + pump * n + suffix`,
where the pump is something that one of its repeats takes. Both come from the pattern itself.
"""

import re
from collections.abc import Callable, Iterator
from re import _constants as constants  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

PLAIN = (
    " ",
    "a",
    "0",
    "_",
    ".",
    "=",
    '"',
    "\\",
    "(",
    ")",
    "{",
    "}",
    ",",
    ":",
    "-",
    "\n",
    "a ",
    "A1",
)
SUFFIXES = ("", "\n\x00")
REPEATS = (constants.MAX_REPEAT, constants.MIN_REPEAT, constants.POSSESSIVE_REPEAT)
MANY = 16
"""Of a repeat: so many times at least make it a place to pump."""
CATEGORIES = {
    constants.CATEGORY_DIGIT: "0",
    constants.CATEGORY_NOT_DIGIT: "a",
    constants.CATEGORY_SPACE: " ",
    constants.CATEGORY_NOT_SPACE: "a",
    constants.CATEGORY_WORD: "a",
    constants.CATEGORY_NOT_WORD: " ",
}


def _one_of(items: Any) -> str:
    """A character of a class, or not of one that is negated."""
    if items[0][0] is constants.NEGATE:
        taken = {chr(value) for op, value in items[1:] if op is constants.LITERAL}
        return next(char for char in "aB0 ,-\x01" if char not in taken)
    op, value = items[0]
    if op is constants.RANGE:
        return chr(value[0])
    return CATEGORIES[value] if op is constants.CATEGORY else chr(value)


def _sample_one(op: Any, value: Any) -> str:
    if op in SAMPLES:
        return SAMPLES[op](value)
    if op in REPEATS:
        return sample(value[2]) * max(value[0], 1)
    return ""


def sample(tree: Any) -> str:
    """A string that a tree matches, or nearly."""
    return "".join(_sample_one(op, value) for op, value in tree)


SAMPLES: dict[Any, Callable[[Any], str]] = {
    constants.LITERAL: chr,
    constants.NOT_LITERAL: lambda value: "a" if value != ord("a") else "b",
    constants.IN: _one_of,
    constants.ANY: lambda _: "a",
    constants.BRANCH: lambda value: sample(value[1][0]),
    constants.SUBPATTERN: lambda value: sample(value[3]),
    constants.ATOMIC_GROUP: lambda value: sample(value),
}


def _children(op: Any, value: Any) -> Iterator[Any]:
    if op is constants.BRANCH:
        yield from value[1]
    elif op is constants.SUBPATTERN:
        yield value[3]
    elif op is constants.ATOMIC_GROUP:
        yield value
    elif op in REPEATS:
        yield value[2]
    elif op in (constants.ASSERT, constants.ASSERT_NOT):
        yield value[1]


def _places(tree: Any, before: str) -> Iterator[tuple[str, str]]:
    """Each place of many repeats: what must stand before it, and what it takes."""
    for op, value in tree:
        if op in REPEATS and value[1] >= MANY:
            yield before, sample(value[2])
        for child in _children(op, value):
            yield from _places(child, before)
        before += _sample_one(op, value)


def attacks(pattern: "re.Pattern[Any]", length: int) -> Iterator[str]:
    """Strings of about a length that are likely to be hard for a pattern."""
    text = pattern.pattern
    tree = parser.parse(
        text.decode("latin-1") if isinstance(text, bytes) else text, pattern.flags & ~re.UNICODE
    )
    whole = sample(tree)
    pumps = {("", whole), ("", whole[:-1]), *(("", pump) for pump in PLAIN)}
    for before, taken in set(_places(tree, "")):
        pumps |= {(before, taken), ("", before + taken), (before, taken + " "), ("", before)}
        pumps |= {(before, pump) for pump in (" ", "a", "0", "\\")}
    for prefix, pump in sorted(pumps):
        if pump:
            body = prefix + pump * (length // len(pump))
            yield from (body + suffix for suffix in SUFFIXES)
