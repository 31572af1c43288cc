"""Traces of requests as their owners publish them: when each came, how long it was, what it shared.

- Mooncake's JSON lines: `timestamp` (ms), `input_length`, `output_length` and `hash_ids`, one for
  each block of 512 prompt tokens, equal where all tokens up to its end are. Other blocks are named
  with `block=`.
- Bailian's JSON lines: the same fields beside a `chat_id`, with `timestamp` in seconds and blocks
  of 16 tokens.
- Azure's CSV: `TIMESTAMP` (a date), `ContextTokens`, `GeneratedTokens`.
- BurstGPT's CSV: `Timestamp` (s), `Request tokens`, `Response tokens`.

A row that asks for or answered no token is a request that failed when it was recorded: it is left
out.
"""

import codecs
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from catalog.bounded import RealRange, WholeRange
from catalog.errors import BadFile
from workloads.load.files.open import bad_line, lines_of, read_bytes
from workloads.load.workload import TraceFile

WHAT = "trace"
MOONCAKE_BLOCK, BAILIAN_BLOCK = 512, 16
MS = 1e-3
UNITS_S = {"s": 1.0, "ms": MS}
MOST_UNSAID_PER_S = 200.0
"""Requests per second of a trace in milliseconds that does not say so; a second's are 1,000 times
as many, and other tools write such lines in seconds."""
TOKENS = WholeRange(0, 10_000_000)
TIMES = RealRange(-1e15, 1e15)
IDS = WholeRange(-(2**63), 2**63 - 1)
AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
BURST = ("Timestamp", "Request tokens", "Response tokens")
FORMS = (
    "JSON lines with timestamp, input_length and output_length (Mooncake), or CSV with "
    f"{','.join(AZURE)} (Azure) or {','.join(BURST)} (BurstGPT)"
)


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests in order of their arrival; `times_s` counts from the first one's."""

    times_s: NDArray[np.float64]
    input_lens: NDArray[np.int64]
    output_lens: NDArray[np.int64]
    hashes: tuple[tuple[int, ...], ...]
    """Of each request's blocks; empty where the trace has none."""
    block_tokens: int

    def __len__(self) -> int:
        return len(self.times_s)

    def hashes_of(self, row: int) -> tuple[int, ...]:
        return self.hashes[row] if self.hashes else ()

    def rate_per_s(self, most: int | None = None) -> float | None:
        """Requests per second of the first `most` as recorded; None for one, or all at once."""
        times_s = self.times_s[:most]
        span_s = float(times_s[-1])
        return (len(times_s) - 1) / span_s if span_s > 0 else None


class _Row(msgspec.Struct):
    """A line of Mooncake's; other fields are other people's."""

    timestamp: float
    input_length: int
    output_length: int
    hash_ids: list[int] | None = None
    chat_id: int | str | None = None
    delay: float | None = None
    """AIPerf's: from the end of the turn before it."""

    def at_s(self, unit_s: float | None) -> float:
        return self.timestamp * (unit_s or (MS if self.chat_id is None else 1.0))

    @property
    def block_tokens(self) -> int:
        return MOONCAKE_BLOCK if self.chat_id is None else BAILIAN_BLOCK


_Read = tuple[float, int, int, tuple[int, ...], int]
"""Time, lengths, hashes, and the tokens that each of those stands for."""
_decoder = msgspec.json.Decoder(_Row)


@lru_cache(maxsize=8)
def read_trace(source: TraceFile) -> Trace:
    """Read, cut and scale a trace; BadFile names file, line and field of what is wrong."""
    data = read_bytes(source.path, source.digest, WHAT).removeprefix(codecs.BOM_UTF8)
    lines = data.lstrip()[:1] in (b"{", b"[")
    found = _json_rows(source, data) if lines else _csv_rows(source.path, data)
    rows = sorted(found, key=lambda row: row[0])
    _check_unit(source, [row[0] for row in rows], said=not lines)
    if not rows:
        raise BadFile(source.path, f"no request is left of it; it takes {FORMS}")
    if source.block_tokens is not None and not any(row[3] for row in rows):
        raise BadFile(source.path, "has no hash_ids whose tokens block= could tell: leave it out")
    begin_s = rows[0][0]
    end_s = float("inf") if source.to_s is None else source.to_s
    rows = [row for row in rows if source.from_s <= row[0] - begin_s < end_s]
    if not rows:
        raise BadFile(source.path, f"no request between {source.from_s:g} and {end_s:g} s of it")
    times = np.array([row[0] for row in rows])
    hashes = tuple(row[3] for row in rows) if any(row[3] for row in rows) else ()
    return Trace(
        times_s=(times - times[0]) / source.speed,
        input_lens=_scaled([row[1] for row in rows], source.scale),
        output_lens=_scaled([row[2] for row in rows], source.scale),
        hashes=hashes,
        block_tokens=max(1, round(rows[0][4] * source.scale)),
    )


def _scaled(lengths: list[int], scale: float) -> NDArray[np.int64]:
    scaled: NDArray[np.int64] = np.maximum(1, np.rint(np.array(lengths) * scale)).astype(np.int64)
    return scaled


def _check_unit(source: TraceFile, times_s: list[float], *, said: bool) -> None:
    """Refuse times whose unit nobody has said and that are too close to be what is usual."""
    if said and source.unit is not None:
        raise BadFile(source.path, "is a table, whose format says what its times are, not unit=")
    if said or source.unit is not None or len(times_s) < 2:
        return
    count, span_s = len(times_s) - 1, times_s[-1] - times_s[0]
    if count > MOST_UNSAID_PER_S * span_s > 0:
        given = f"{count / span_s:,.0f} requests a second as it is read"
        raise BadFile(source.path, f"has {given}: ,unit=s or ,unit=ms says what its times are")


def _json_rows(source: TraceFile, data: bytes) -> Iterator[_Read]:
    path, unit_s = source.path, UNITS_S[source.unit] if source.unit else None
    for number, line in lines_of(path, data):
        try:
            row = _decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadFile(path, f"line {number}: {error}") from None
        _check(path, number, "timestamp", row.timestamp, TIMES)
        _check(path, number, "input_length", row.input_length, TOKENS)
        _check(path, number, "output_length", row.output_length, TOKENS)
        if not row.input_length or not row.output_length:
            continue
        ids, block = tuple(row.hash_ids or ()), source.block_tokens or row.block_tokens
        if ids and len(ids) != -(-row.input_length // block):
            told = f"{len(ids)} blocks of {block} are not {row.input_length} tokens"
            raise bad_line(path, number, "hash_ids", f"{told}; say how many with ,block=TOKENS")
        if row.delay:
            told = "waits for an earlier answer, and a trace is replayed by its times: leave it out"
            raise bad_line(path, number, "delay", told)
        yield row.at_s(unit_s), row.input_length, row.output_length, ids, block


def _csv_rows(path: Path, data: bytes) -> Iterator[_Read]:
    try:
        reader = csv.DictReader(io.StringIO(data.decode()))
        names = reader.fieldnames or ()
    except UnicodeDecodeError as error:
        raise BadFile(path, f"is not UTF-8: {error.reason} at byte {error.start}") from None
    except csv.Error as error:
        raise BadFile(path, f"line 1: is not CSV: {error}") from None
    columns = next((form for form in (AZURE, BURST) if set(form) <= set(names)), None)
    if columns is None:
        raise bad_line(path, 1, "header", f"no trace that is known: {FORMS}")
    time, *lengths = columns
    try:
        for row in reader:
            found = [_parsed(path, reader.line_num, name, row[name], TOKENS) for name in lengths]
            when_s = _instant(path, reader.line_num, time, row[time], dated=columns is AZURE)
            if all(found):
                yield when_s, int(found[0]), int(found[1]), (), MOONCAKE_BLOCK
    except csv.Error as error:
        raise BadFile(path, f"line {reader.line_num}: is not CSV: {error}") from None


def _instant(path: Path, number: int, field: str, text: str | None, *, dated: bool) -> float:
    if not dated:
        return float(_parsed(path, number, field, text, TIMES))
    try:
        found = datetime.fromisoformat((text or "").strip())
    except ValueError:
        raise bad_line(path, number, field, f"{text!r:.60} is no date and time") from None
    # Azure's first trace names no zone, and no daylight saving is meant.
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _parsed(
    path: Path, number: int, field: str, text: str | None, allowed: WholeRange | RealRange
) -> float:
    found = allowed.parse((text or "").strip())
    if found is None:
        raise bad_line(path, number, field, f"{text!r:.60} is not {allowed.allowed}")
    return found


def _check(
    path: Path, number: int, field: str, value: float, allowed: WholeRange | RealRange
) -> None:
    if value not in allowed:
        raise bad_line(path, number, field, f"{value!r:.60} is not {allowed.allowed}")
