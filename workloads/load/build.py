"""A workload put together from its text: parts, their facts, and the canonical text."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from catalog.errors import BadValue, UnknownName
from workloads.load.distribution import plain
from workloads.load.facts import Facts, facts_of
from workloads.load.files.open import digest_of
from workloads.load.files.tokenizer import FILE, folder_of
from workloads.load.language import (
    FILES,
    OPTIONS,
    REALS,
    Piece,
    check_options,
    count_of,
    lengths_of,
    part_of,
    pieces_of,
    source_of,
)
from workloads.load.workload import Part, PromptFile, Source, Workload

ALLOWED = (
    "INPUT:OUTPUT:PROMPTS with whole numbers of at least 1, or PROMPTS 'auto' (1024:512:20); each "
    "length may be A-B or MEAN~CV; or file:PATH, trace:PATH, lengths:PATH; mixes A@0.7+B@0.3"
)
LONGEST_FILE_NAME = 60
_NUMBER = re.compile(r"[0-9]++(?:\.[0-9]++)?+")
_PINNED = re.compile(r"(.+)#([0-9a-f]{8,64})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Written:
    """A part on its way: as it was written, what that stands for, and what became of it."""

    piece: Piece
    """With a profile's name taken for its text."""
    given: Piece
    source: Source
    shown: str
    """The source in the canonical text."""
    count: int | None
    counted: bool
    """Whether a number of prompts, or auto, was said."""


def build(text: str, profiles: Mapping[str, str], tokenizer: Path | None) -> Workload:
    """Build the workload that a text of the language names; `tokenizer` is the model's folder."""
    written = [_written(piece, profiles, text, tokenizer) for piece in pieces_of(text, profiles)]
    mixed = len(written) > 1
    if not mixed and not written[0].counted and ":" in text and not _of_file(written[0].piece):
        raise BadValue("workload", text, ALLOWED)
    weights, total = _weights(written, text)
    parts = [
        part_of(each.piece, each.source, weight, text)
        for each, weight in zip(written, weights, strict=True)
    ]
    parts = _labelled(parts, written, text) if mixed else parts
    facts = [facts_of(part, None if mixed else total) for part in parts]
    available = _available(facts, weights)
    if available is not None and total is not None and total > available:
        raise BadValue("workload", text, f"prompts from 1 to the {available:,} that there are")
    return Workload(
        name=_name(written, weights, total),
        input_len=_mean([each.mean_input for each in facts], weights),
        output_len=_mean([each.mean_output for each in facts], weights),
        num_prompts=total,
        parts=tuple(parts),
        longest=0 if any(f.longest is None for f in facts) else max(f.longest or 0 for f in facts),
        available=available,
        longest_at=max(facts, key=lambda each: each.longest or 0).longest_at,
        rate_per_s=None if mixed else facts[0].rate_per_s,
    )


def has_prompts(text: str, profiles: Mapping[str, str]) -> bool:
    """Whether a text names a file of prompts, for which a tokenizer is wanted."""
    return any(piece.source.startswith("file:") for piece in pieces_of(text.strip(), profiles))


def names_files(text: str, profiles: Mapping[str, str]) -> bool:
    """Whether a text names a file of any kind."""
    return any(_of_file(piece) for piece in pieces_of(text.strip(), profiles))


def comparable(text: str, profiles: Mapping[str, str]) -> str:
    """Return a pinned text without folders: what it says wherever the files lie."""
    return "+".join(_spelled(_elsewhere(piece)) for piece in pieces_of(text, profiles))


def _elsewhere(piece: Piece) -> Piece:
    if not _of_file(piece):
        return piece
    kind, _, path = piece.source.partition(":")
    where, digest = located(path, kind)
    return replace(piece, source=f"{kind}:{_plain_name(where)}#{digest}")


def pinned(text: str, profiles: Mapping[str, str]) -> str:
    """Return the text with every file's absolute path and hash, by which it is found again."""
    pieces = pieces_of(text.strip(), profiles)
    if not any(_of_file(piece) for piece in pieces):
        return text
    return "+".join(_spelled(_pinned(piece)) for piece in pieces)


def _pinned(piece: Piece) -> Piece:
    if not _of_file(piece):
        return piece
    kind, _, path = piece.source.partition(":")
    found, digest = located(path, kind)
    options = dict(piece.options)
    if "tokenizer" in options and Path(options["tokenizer"]).is_dir():
        options["tokenizer"] = str(Path(options["tokenizer"]).absolute())
    return replace(piece, source=f"{kind}:{found.absolute()}#{digest}", options=options)


def located(path: str, kind: str) -> tuple[Path, str]:
    """Return a file and its hash: the one that is written behind it, else of what it holds now."""
    if (match := _PINNED.fullmatch(path)) is not None and not Path(path).exists():
        return Path(match[1]), match[2]
    if not path:
        raise BadValue("workload", f"{kind}:", f"{kind}:PATH of a {FILES[kind]}")
    return Path(path), digest_of(Path(path), FILES[kind])


def _written(
    piece: Piece, profiles: Mapping[str, str], text: str, tokenizer: Path | None
) -> _Written:
    given = piece
    if piece.source in profiles:
        (found,) = pieces_of(profiles[piece.source], {})
        piece = replace(found, label=piece.label, weight=piece.weight,
                        options={**found.options, **piece.options})  # fmt: skip
    if _of_file(piece):
        kind, _, path = piece.source.partition(":")
        where, digest = located(path, kind)
        source = source_of(kind, where, piece.options, digest, text)
        if isinstance(source, PromptFile):
            folder = folder_of(source.tokenizer) if source.tokenizer else tokenizer
            source = msgspec.structs.replace(source, tokenizer=str(folder) if folder else None)
        shown, count = f"{kind}:{_plain_name(where)}#{digest}", ""
    else:
        if ":" not in piece.source:
            raise UnknownName("workload", piece.source, profiles, hint=f"Or give {ALLOWED}.")
        if piece.source.count(":") > 2:
            raise BadValue("workload", text, ALLOWED)
        kind = ""
        source, count = lengths_of(piece.source, text)
        shown = given.source if given.source in profiles else _lengths_text(source)
    check_options(piece, kind, text)
    count = piece.options.get("prompts", count)
    return _Written(
        piece, given, source, shown, count_of(count, text) if count else None, bool(count)
    )


def _lengths_text(source: Source) -> str:
    return f"{source.input.text}:{source.output.text}"  # type: ignore[union-attr]


def _weights(written: Sequence[_Written], text: str) -> tuple[list[float], int | None]:
    """Return each part's weight, and the number of prompts of all together.

    Without weights the numbers of prompts are the weights; `prompts=` is of the whole mix.
    """
    if len(written) == 1:
        return [1.0], written[0].count
    said = [each.given.options["prompts"] for each in written if "prompts" in each.given.options]
    if len(said) > 1:
        raise BadValue("workload", text, "prompts= once: it is of the whole mix")
    total = count_of(said[0], text) if said else None
    weights = [each.given.weight for each in written]
    if any(weights):
        return [1.0 if each is None else each for each in weights], total
    counts = [each.count for each in written]
    if not said and all(counts):
        return [float(each or 0) for each in counts], sum(each or 0 for each in counts)
    return [1.0] * len(written), total


def _labelled(parts: Sequence[Part], written: Sequence[_Written], text: str) -> list[Part]:
    """Give each part of a mix the label it has, else its source's text; no two are the same."""
    labels = [part.label or each.shown for part, each in zip(parts, written, strict=True)]
    if len(set(labels)) < len(labels):
        raise BadValue("workload", text, "a label of its own before each part: a=…+b=…")
    return [
        msgspec.structs.replace(part, label=label)
        for part, label in zip(parts, labels, strict=True)
    ]


def _available(facts: Sequence[Facts], weights: Sequence[float]) -> int | None:
    """Return how many requests can be sent before a part of the mix runs out of its own."""
    shares = [each / sum(weights) for each in weights]
    bounds = [
        int(fact.available / share)
        for fact, share in zip(facts, shares, strict=True)
        if fact.available is not None
    ]
    return max(1, min(bounds)) if bounds else None


def _mean(means: Sequence[float | None], weights: Sequence[float]) -> int:
    """Return the mean over all requests, rounded; 0 where one is not known."""
    known = [mean for mean in means if mean is not None]
    if len(known) < len(means):
        return 0
    total = sum(mean * weight for mean, weight in zip(known, weights, strict=True))
    return max(1, round(total / sum(weights)))


def _name(written: Sequence[_Written], weights: Sequence[float], total: int | None) -> str:
    """Write the canonical text."""
    if len(written) == 1:
        return _spelled(_canonical(written[0]))
    names = [
        f"{_spelled(_canonical(each, mixed=True))}@{plain(weight)}"
        for each, weight in zip(written, weights, strict=True)
    ]
    return "+".join(names) + (f",prompts={total}" if total else "")


def _canonical(each: _Written, *, mixed: bool = False) -> Piece:
    given, counted = each.given, "" if mixed or not each.counted else str(each.count or "auto")
    said = [name for name in OPTIONS if name in given.options and name != "prompts"]
    options = {name: _shown(name, given.options[name]) for name in said}
    shown = each.shown
    if counted and not _of_file(each.piece) and each.given.source == each.piece.source:
        shown, counted = f"{shown}:{counted}", ""
    if counted and "prompts" in given.options:
        options["prompts"] = counted
    return Piece(given.label, shown, None, options)


def _shown(option: str, value: str) -> str:
    """An option's value as it is always written: 2.0, 02 and 2e0 are 2."""
    if option == "tokenizer":
        return _shown_tokenizer(value)
    if option in REALS:
        return plain(float(value))
    return _NUMBER.sub(lambda number: plain(float(number[0])), value)


def _shown_tokenizer(given: str) -> str:
    """A tokenizer by its folder's name and a hash of what it does."""
    folder = folder_of(given)
    return f"{_plain_name(folder.absolute())}#{digest_of(folder / FILE, 'tokenizer')}"


def _spelled(piece: Piece) -> str:
    options = "".join(
        f",{name}={value}" if value else f",{name}" for name, value in piece.options.items()
    )
    label = f"{piece.label}=" if piece.label else ""
    weight = "" if piece.weight is None else f"@{plain(piece.weight)}"
    return f"{label}{piece.source}{options}{weight}"


def _of_file(piece: Piece) -> bool:
    return piece.source.startswith(tuple(f"{kind}:" for kind in FILES))


def _plain_name(path: Path) -> str:
    """A file's name with nothing in it that a terminal, a table or the language would read."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", path.name)[:LONGEST_FILE_NAME] or "_"
