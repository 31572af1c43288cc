"""Why a request failed, as a small set of classes."""

from dataclasses import dataclass
from typing import Literal

ErrorClass = Literal[
    "CONNECT",
    "CONNECTION_LOST",
    "TIMEOUT",
    "HTTP_3XX",
    "HTTP_4XX",
    "HTTP_5XX",
    "BAD_HTTP",
    "BAD_CONTENT",
    "BAD_JSON",
    "STREAM_ERROR",
    "STREAM_TRUNCATED",
    "NO_FINISH_REASON",
    "NO_DONE",
    "USAGE_MISSING",
    "ZERO_TOKENS",
    "TOKEN_COUNT_MISMATCH",
    "TOO_LARGE",
    "INTERRUPTED",
]


@dataclass(frozen=True, slots=True)
class Failure(Exception):
    """One request's failure: its class and, for people, what was seen."""

    error_class: ErrorClass
    detail: str = ""
