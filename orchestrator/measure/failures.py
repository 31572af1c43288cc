"""Why a server failed, from its log: a class, whether it lasts, and what to do about it."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from catalog.errors import MoeserveError, ServerError
from orchestrator.measure.failure_table import RANKS, FailureClass, Wording, lasting, table
from orchestrator.measure.server_log import (
    ALLOCATED,
    CAPTURED,
    CAPTURING,
    LOADED,
    READY,
    Line,
    clean,
    stage_number,
    telling_lines,
)

UNKNOWN_ADVICE = "see the end of the server's log"
# What moeserve itself finds: another start would only find it again.
OWN_LASTING = frozenset(
    {
        "CONTAINER",
        "SERVER_MISSING",
        "SERVER_TOO_OLD",
        "SERVER_CHANGED",
        "CONFIG_DRIFT",
        "NOT_READY",
        "BAD_NODES",
    }
)
# Functions of vLLM in a traceback, the more telling first: what the server was doing.
_FRAMES = (
    ("sampler", re.compile(r"in (?:_dummy_sampler_run|warm_?up_sampler)\b|warming up sampler")),
    ("capture", re.compile(r"in (?:capture_model|_?capture_cudagraphs?|_warmup_and_capture)\b")),
    ("profile", re.compile(r"in (?:profile_run|determine_available_memory|determine_num_available"
                           r"_blocks|profile_cudagraph_memory)\b")),
    ("kv", re.compile(r"in (?:initialize_kv_cache|_?allocate_kv_cache\w*|initialize_from_config"
                      r"|initialize_cache)\b")),
    ("weights", re.compile(r"in (?:create_weights|load_weights|load_model|initialize_model|"
                           r"process_weights_after_loading)\b")),
)  # fmt: skip
FRAMES_ABOVE = 80
# llama.cpp says what it was doing after it says that memory ran out.
_SAID_BELOW = (
    ("kv", re.compile(r"failed to allocate buffer for kv cache|kv_cache_init\(\) failed")),
    ("profile", re.compile(r"failed to allocate compute (?:pp )?buffers")),
    ("weights", re.compile(r"error loading model: unable to allocate")),
)
LINES_BELOW = 4
_FAILS = re.compile(r"Traceback \(most recent call last\)|[\w.]{1,80}(?:Error|Exception):")
_ERROR = re.compile(
    r"\s{0,4}what\(\): .{1,200}|(?![\w.]{0,80}EngineDead)[\w.]{1,80}(?:Error|Exception)"
    r"(?:: (?!Engine core init|WorkerProc init).{1,200}|\s{0,9}$)"
)
_MARKS_A_PLACE = re.compile(r"[\s^~]*$")
"""The line below a line of source in a traceback."""
_NAMELESS = RANKS.index("aftermath")


@dataclass(frozen=True, slots=True)
class Failure:
    """A class of failure; `lasting` is None where another start may or may not go better."""

    code: str
    lasting: bool | None
    advice: str


@dataclass(frozen=True, slots=True)
class _Match:
    rank: int
    line: int
    place: int
    failure: Failure


def diagnose(log: str) -> Failure | None:
    """Name why the last server that a log tells of failed; None where it does not tell.

    What stands before a server was ready did not end it, nor what it says once it is told to stop.
    """
    known, text = table(), clean(log)
    lines = telling_lines(text, always=known.always, never=known.never)
    ready = stage_number(text) >= READY
    if ready:
        lines = [line for line in lines if line.stage == READY]
    found = min(_matches(lines, ready), key=_order, default=None)
    if found is not None and found.rank < _NAMELESS:
        return found.failure
    if found is not None:
        # What a server answered clients with before it died is not why it died.
        return _with_error(found.failure, lines[found.line if ready else 0 :])
    if not ready and any(_FAILS.match(line.text) for line in lines):
        unknown = known.classes[-1]
        return _with_error(Failure(unknown.code, unknown.lasting, unknown.advice), lines)
    return None


def classify(log: str, default: str) -> Failure:
    """Name the failure of a server that did fail; `default` when the log shows nothing known."""
    found = diagnose(log)
    if found is None:
        return Failure(default, lasting(default), UNKNOWN_ADVICE)
    nameless = found.code in ("START_FAILED", "ENGINE_DEAD")
    return Failure(default, lasting(default), found.advice) if nameless else found


def _with_error(failure: Failure, lines: Sequence[Line]) -> Failure:
    """Pass on the first error of a log whose cause is not known here."""
    errors = ((n, _ERROR.match(line.text)) for n, line in enumerate(lines))
    place, told = next(((n, error[0].strip()) for n, error in errors if error), (0, ""))
    if told and ":" not in told:
        told = f"{told}: {_source_above(lines, place)}".rstrip(": ")
    return replace(failure, advice=f"{failure.advice}: {told}") if told else failure


def _source_above(lines: Sequence[Line], place: int) -> str:
    """Tell the line of source that raised an error without words, as an assertion is."""
    above = (line.text.strip() for line in reversed(lines[max(0, place - 4) : place]))
    source = next((text for text in above if not _MARKS_A_PLACE.match(text)), "")
    return "" if source.startswith(("File ", "Traceback")) else source[:200]


def is_retryable(failure: str | MoeserveError) -> bool:
    """Whether another start of the server may succeed, by a class or by the error itself."""
    if isinstance(failure, ServerError) and failure.lasting is not None:
        return not failure.lasting
    code = str(failure).split(":", 1)[0]
    return code not in OWN_LASTING and lasting(code) is not True


def _order(match: _Match) -> tuple[int, int, int]:
    return match.rank, match.line, match.place


def _matches(lines: Sequence[Line], ready: bool) -> Iterator[_Match]:
    """The first place of each wording that applies."""
    text = _joined(lines)
    begins = list(accumulate((len(line.text) + 1 for line in lines), initial=0))
    place = 0
    for kind in table().classes:
        for wording in kind.wordings:
            place += 1
            if kind.phase == ("start" if ready else "serving") and not wording.during:
                continue
            for found in wording.pattern.finditer(text):
                line = bisect_right(begins, found.start()) - 1
                if wording.during and wording.during != activity(lines, line):
                    continue
                rank = RANKS.index(wording.rank or kind.rank)
                yield _Match(rank, line, place, _failure(kind, wording, found))
                break


def _failure(kind: FailureClass, wording: Wording, found: re.Match[str]) -> Failure:
    named = {name: (said or "").strip() for name, said in found.groupdict().items()}
    advice = (wording.advice or kind.advice).format(**named)
    lasts = kind.lasting if not isinstance(wording.lasting, bool | None) else wording.lasting
    return Failure(kind.code, lasts, advice)


def activity(lines: Sequence[Line], place: int) -> str:
    """What a server was doing where a line stands: by the traceback above it, else by its stage."""
    stage = lines[place].stage
    if stage == READY:
        return "serving"
    above = _joined(lines[max(0, place - FRAMES_ABOVE) : place + 1])
    below = _joined(lines[place : place + 1 + LINES_BELOW])
    said = [name for name, pattern in _SAID_BELOW if pattern.search(below)]
    said += [name for name, pattern in _FRAMES if pattern.search(above)]
    return said[0] if said else _by_stage(stage)


def _joined(lines: Sequence[Line]) -> str:
    return "\n".join(line.text for line in lines)


def _by_stage(stage: int) -> str:
    if stage < LOADED:
        return "weights"
    if stage < ALLOCATED:
        return "profile"
    return {CAPTURING: "capture", CAPTURED: "sampler"}.get(stage, "profile")
