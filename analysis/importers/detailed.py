"""Requests of `vllm bench serve --save-detailed`: arrays in seconds, one place a request."""

from typing import Any

import numpy as np

from analysis.importers.document import Document
from catalog.bounded import TOKENS, RealRange
from catalog.errors import BadValue
from workloads.transcript import NO_TIMES, RequestRow, Seconds, clean_error

INSTANTS = RealRange(-1e10, 1e10)
"""Seconds of a clock that begins anywhere, the epoch of 1970 included."""
SPANS = RealRange(0.0, 1e8)
ARRAYS = ("start_times", "ttfts", "itls", "input_lens", "output_lens", "errors")
COLUMNS = (*ARRAYS, "queue_times")
LONGEST_ERROR = 80


def request_rows(source: Document) -> tuple[RequestRow, ...]:
    """Requests of a detailed file; times from the first request's send."""
    arrays = [source.get(name) for name in ARRAYS]
    if not all(isinstance(array, list) for array in arrays):
        return ()
    if len({len(array) for array in arrays}) != 1:
        raise source.bad(f"{', '.join(ARRAYS)} have different lengths")
    if not arrays[0]:
        return ()
    given = source.get("queue_times") if source.setting("request_rate") is not None else None
    waits = given if isinstance(given, list) and len(given) == len(arrays[0]) else None
    columns = (*arrays, waits or [0.0] * len(arrays[0]))
    rows, start_s = [], _start(source, arrays[0])
    for number, values in enumerate(zip(*columns, strict=True)):
        try:
            rows.append(_row(number, start_s, dict(zip(COLUMNS, values, strict=True))))
        except BadValue as error:
            raise source.bad(f"request {number}: {error}") from None
    return tuple(rows)


def _start(source: Document, starts: list[Any]) -> float:
    try:
        return min(INSTANTS.require(start, "start_times") for start in starts)
    except BadValue as error:
        raise source.bad(str(error)) from None


def _row(number: int, start_s: float, values: dict[str, Any]) -> RequestRow:
    sent = INSTANTS.require(values["start_times"], "start_times") - start_s
    due = sent - SPANS.require(values["queue_times"], "queue_times")
    # A request that failed has neither tokens nor times in some versions.
    ttft = SPANS.require(values["ttfts"] or 0.0, "ttfts")
    inputs = TOKENS.require(values["input_lens"], "input_lens")
    gaps = _gaps(values["itls"])
    error = _error(values["errors"])
    done = sent + ttft + float(gaps.sum())
    if error or not ttft:
        return RequestRow(
            request=number, due_s=due, sent_s=sent, done_s=done, input_tokens=inputs,
            status="failed", error_class="peer", error=error or "no tokens",
        )  # fmt: skip
    outputs = TOKENS.require(values["output_lens"], "output_lens")
    stamps = sent + ttft + np.concatenate([[0.0], np.cumsum(gaps)])
    # Chunks of several tokens: only their own times are known, not those of each token.
    is_token = len(stamps) == outputs
    return RequestRow(
        request=number,
        due_s=due,
        sent_s=sent,
        first_token_s=float(stamps[0]),
        done_s=float(stamps[-1]),
        input_tokens=inputs,
        output_tokens=outputs,
        token_times_s=stamps if is_token else NO_TIMES,
        events=len(stamps),
    )


def _gaps(given: Any) -> Seconds:
    if not isinstance(given, list):
        raise BadValue("itls", given, "a list of seconds for each request")
    return np.array([SPANS.require(gap, "itls") for gap in given], np.float64)


def _error(given: Any) -> str:
    """The last line of a request's error, which ends a traceback with what it was."""
    if given is not None and not isinstance(given, str):
        raise BadValue("errors", given, "a text for each request")
    lines = (given or "").strip().splitlines()
    return clean_error(lines[-1])[:LONGEST_ERROR] if lines else ""
