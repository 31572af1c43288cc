"""Why a request failed, as a small set of classes."""

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
    "ABORTED",
    "NO_DONE",
    "USAGE_MISSING",
    "ZERO_TOKENS",
    "TOKEN_COUNT_MISMATCH",
    "TOO_LARGE",
    "INTERRUPTED",
]


class Failure(Exception):
    """One request's failure: its class and, for people, what was seen."""

    def __init__(self, error_class: ErrorClass, detail: str = "") -> None:
        super().__init__(error_class, detail)
        self.error_class: ErrorClass = error_class
        self.detail = detail

    def without_traceback(self) -> "Failure":
        """Return it without its traceback, which refers to whoever keeps it."""
        return self.with_traceback(None)
