"""The language of workloads: one short text a workload, on the command line, in YAML, in results.

    WORKLOAD  = PART [@WEIGHT] { + PART [@WEIGHT] }
    PART      = [LABEL=] SOURCE { , OPTION }
    SOURCE    = PROFILE | LENGTH:LENGTH:PROMPTS | lengths:FILE | file:FILE | trace:FILE
    LENGTH    = N | A-B | MEAN~CV
    OPTION    = prompts=N | natural | prefix=TOKENSxCOUNT | turns=N | think=SECONDS
              | output=N | cut=LENGTH | tokenizer=FOLDER
              | speed=X | scale=X | from=S | to=S | block=TOKENS
              | unit=s|ms

docs/workloads.md says what each is for. `+`, `,` and `@` divide only before something of the
language, so a file's name may hold them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import BadValue, UnknownName
from workloads.load.distribution import parse_seconds, parse_tokens
from workloads.load.workload import (
    Lengths,
    LengthsFile,
    Part,
    Prefix,
    PromptFile,
    Source,
    TraceFile,
)

LARGEST = 10_000_000
LONGEST_THINK_S = 86_400.0
FILES = {"lengths": "file of lengths", "file": "file of prompts", "trace": "trace"}
OPTIONS: Mapping[str, str] = {
    "prompts": "a whole number from 1, or auto",
    "natural": "",
    "prefix": "TOKENSxCOUNT: 2000x8 are eight prefixes of 2,000 tokens",
    "turns": "a whole number from 1",
    "think": "seconds between turns: 2, 1-3, or 2~1 (lognormal)",
    "output": "tokens of every answer",
    "cut": "tokens of each prompt that a plain text is cut into: N, A-B or MEAN~CV",
    "tokenizer": "a folder with tokenizer.json",
    "speed": "times as fast as recorded, above 0",
    "scale": "of all lengths, above 0",
    "from": "seconds of the recording",
    "to": "seconds of the recording",
    "block": "tokens that a hash stands for",
    "unit": "s or ms, of its times",
}
REALS = ("speed", "scale", "from", "to")
"""Options that are one real number, however it is written."""
OF_FILES = {
    "file": ("output", "cut", "tokenizer", "turns", "think", "natural", "prompts"),
    "trace": ("speed", "scale", "from", "to", "block", "unit", "natural", "prompts"),
}
OF_LENGTHS = ("prompts", "natural", "prefix", "turns", "think")
_LABEL = re.compile(r"([A-Za-z][A-Za-z0-9_-]{0,39})=(.+)", re.DOTALL)
_WEIGHT = re.compile(r"(.+)@([0-9]{1,9}(?:\.[0-9]{1,6})?)", re.DOTALL)
_NO_WEIGHT = re.compile(r".*@[-+0-9.][0-9.e+-]*", re.DOTALL | re.IGNORECASE)
"""A number that is no weight: 1e-9, -1, .5."""
_OPTION = re.compile(rf",(?=(?:{'|'.join(OPTIONS)})(?:=|,|@|\+|$))")
_NUMBERED = re.compile(r"[A-Za-z][A-Za-z0-9_-]*=[0-9][^:]*")
"""An option that is none: what has a label is a source, of which no one is a number."""
_LENGTH = r"[0-9][0-9.~-]*"
_COUNT = re.compile(r"[0-9]{1,9}|auto", re.ASCII)


def listed(text: str) -> list[str]:
    """Divide a list of workloads at its commas, but for those before an option."""
    found: list[str] = []
    for word in text.split(","):
        name = re.split(r"[=@+]", word.strip(), maxsplit=1)[0]
        if found and name in OPTIONS:
            found[-1] = f"{found[-1]},{word.strip()}"
        elif found and _NUMBERED.fullmatch(word.strip()):
            raise UnknownName("option of a workload", name, OPTIONS)
        else:
            found.append(word.strip())
    return found


@dataclass(frozen=True, slots=True)
class Piece:
    """A part as it is written, taken apart."""

    label: str
    source: str
    weight: float | None
    options: Mapping[str, str]


def pieces_of(text: str, profiles: Mapping[str, str]) -> list[Piece]:
    """Take a workload's text apart; `profiles` are the names that stand for other texts."""
    kinds, names = "|".join(FILES), "|".join(map(re.escape, profiles)) or "(?!)"
    label = r"(?:[A-Za-z][A-Za-z0-9_-]*=)?"
    start = rf"{label}(?:(?:{kinds}):|{_LENGTH}:|(?:{names})(?=[,@+]|$))"
    parts = re.split(rf"\+(?={start})", text)
    return [_piece(part, text) for part in parts]


def _piece(part: str, text: str) -> Piece:
    words, weights = [], []
    for word in _OPTION.split(part):
        match = _WEIGHT.fullmatch(word)
        words.append(match[1] if match else word)
        weights += [float(match[2])] if match else []
    head = words[0]
    of_file = head.startswith(tuple(f"{kind}:" for kind in FILES))
    strange = not of_file and any(_NO_WEIGHT.fullmatch(word) for word in words)
    if len(weights) > 1 or not all(weights) or strange:
        allowed = "one weight above 0 behind the @ of a part, of at most six decimals: 0.7"
        raise BadValue("workload", text, allowed)
    label = None if of_file else _LABEL.fullmatch(head)
    return Piece(
        label=label[1] if label else "",
        source=label[2] if label else head,
        weight=weights[0] if weights else None,
        options=_options(words[1:], text),
    )


def _options(given: list[str], text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for option in given:
        name, equals, value = option.partition("=")
        if name in found:
            raise BadValue("workload", text, f"{name} once")
        if bool(equals) != bool(OPTIONS[name]):
            raise BadValue("workload", text, f"{name}={OPTIONS[name]}" if OPTIONS[name] else name)
        found[name] = value
    return found


def source_of(kind: str, where: Path, options: Mapping[str, str], digest: str, text: str) -> Source:
    """Build the source of a file; its options are checked against its kind."""
    if kind == "lengths":
        return LengthsFile(path=where, digest=digest)
    if kind == "trace":
        until, unit = options.get("to"), options.get("unit")
        if unit not in (None, "s", "ms"):
            raise BadValue("workload", text, f"unit={OPTIONS['unit']}")
        return TraceFile(
            path=where,
            digest=digest,
            speed=_real(options, "speed", 1.0, text, least=1e-6),
            scale=_real(options, "scale", 1.0, text, least=1e-6),
            from_s=_real(options, "from", 0.0, text),
            to_s=None if until is None else _real(options, "to", 0.0, text),
            block_tokens=_whole(options, "block", None, text),
            unit=unit,
        )
    return PromptFile(
        path=where,
        digest=digest,
        output_len=_whole(options, "output", None, text),
        tokenizer=options.get("tokenizer"),
        cut=parse_tokens(options["cut"], "cut", text, LARGEST) if "cut" in options else None,
        turns=_whole(options, "turns", None, text),
    )


def lengths_of(source: str, text: str) -> tuple[Lengths, str]:
    """Read `LENGTH:LENGTH[:PROMPTS]`; return the lengths and the count as it is written."""
    inputs, outputs, *counted = source.split(":")
    lengths = Lengths(
        input=parse_tokens(inputs, "workload", text, LARGEST),
        output=parse_tokens(outputs, "workload", text, LARGEST),
    )
    return lengths, counted[0] if counted else ""


def count_of(given: str, text: str) -> int | None:
    """Read a count of prompts; None for `auto`."""
    if _COUNT.fullmatch(given) is None or (given != "auto" and not 1 <= int(given) <= LARGEST):
        allowed = f"a number of prompts from 1, at most {LARGEST:,}, or auto"
        raise BadValue("workload", text, allowed)
    return None if given == "auto" else int(given)


def part_of(piece: Piece, source: Source, weight: float, text: str) -> Part:
    """Put a part together from its source and its options."""
    options = piece.options
    think = options.get("think")
    return Part(
        source=source,
        label=piece.label,
        weight=weight,
        natural="natural" in options,
        prefix=_prefix(options["prefix"], text) if "prefix" in options else None,
        turns=_whole(options, "turns", None, text) or 1,
        think_s=None if think is None else parse_seconds(think, "think", text, LONGEST_THINK_S),
    )


def check_options(piece: Piece, kind: str, text: str) -> None:
    """Refuse an option that its source has no use for."""
    allowed = OF_FILES.get(kind, OF_LENGTHS)
    for name in piece.options:
        if name not in allowed:
            options = f"{', '.join(allowed)} with {kind or 'lengths'}, not {name}"
            raise BadValue("workload", text, options)
    if "think" in piece.options and piece.options.get("turns", "1") == "1":
        raise BadValue("workload", text, "think= with turns= of two or more")
    if "cut" in piece.options and "turns" in piece.options:
        raise BadValue("workload", text, "cut= of a plain text, or turns= of conversations")


def _prefix(given: str, text: str) -> Prefix:
    match = re.fullmatch(r"([0-9]{1,9})x([0-9]{1,9})", given, re.ASCII)
    if match is None or not (1 <= int(match[1]) <= LARGEST and 1 <= int(match[2]) <= LARGEST):
        raise BadValue("workload", text, f"prefix={OPTIONS['prefix']}")
    return Prefix(tokens=int(match[1]), count=int(match[2]))


def _whole(options: Mapping[str, str], name: str, usual: int | None, text: str) -> int | None:
    given = options.get(name)
    if given is None:
        return usual
    if not re.fullmatch(r"[0-9]{1,9}", given, re.ASCII) or not 1 <= int(given) <= LARGEST:
        raise BadValue("workload", text, f"{name}={OPTIONS[name]}, at most {LARGEST:,}")
    return int(given)


def _real(
    options: Mapping[str, str], name: str, usual: float, text: str, *, least: float = 0.0
) -> float:
    given = options.get(name)
    if given is None:
        return usual
    try:
        found = float(given)
    except ValueError:
        found = -1.0
    if not least <= found <= 1e9:
        raise BadValue("workload", text, f"{name}={OPTIONS[name]}")
    return found
