"""The seam between the HTTP surface and whatever generates behind it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Finish = Literal["length", "stop"]


@dataclass(frozen=True, slots=True)
class Delta:
    """Further tokens of one choice, and the text they add."""

    text: str
    token_ids: Sequence[int]
    finish_reason: Finish | None = None
    choice: int = 0


@dataclass(frozen=True, slots=True)
class AnswerEnd:
    """What follows the last token; anything but the default is a fault on request."""

    usage: bool = True
    """False leaves it out of streams that ask for it."""
    done: bool = True
    usage_off_by: int = 0


GOOD_END = AnswerEnd()


class CompletionFailed(Exception):
    """A request failed; the message is for its client, as a status or an event of its stream."""

    def __init__(self, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.status = status


class ConnectionCut(Exception):
    """The connection is to be dropped in the middle of a stream."""


class Generation(Protocol):
    """A request under way, one choice a prompt."""

    @property
    def prompt_tokens(self) -> Sequence[int]:
        """Tokens of each choice's prompt."""
        ...

    @property
    def cached_tokens(self) -> int | None:
        """Of all prompts, what a prefix cache held; None where the server does not tell."""
        ...

    def deltas(self) -> AsyncIterator[Delta]:
        """Yield tokens until every choice has its finish reason; raise CompletionFailed."""
        ...

    def extras(self, choice: int) -> Mapping[str, Any]:
        """Return further fields of a choice of an answer that is not streamed."""
        ...

    def close(self) -> None:
        """Let go of what still runs; called once, however the request ended."""
        ...
