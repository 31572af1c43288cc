"""The seam between the HTTP side and whatever turns prompts into tokens."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One prompt, and how many tokens are wanted after it."""

    prompt: tuple[int, ...]
    max_tokens: int
    ignore_eos: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Requests of one shape may share a batch."""
        return len(self.prompt), self.max_tokens


@dataclass(frozen=True, slots=True)
class TokenChunk:
    """Tokens of one request of a batch that have become final, next in the answer's order."""

    row: int
    tokens: tuple[int, ...]
    extras: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the whole answer, where this may be its end."""


Passes = Generator[tuple[TokenChunk, ...], None, None]
"""One item a forward pass, empty where it made nothing final; closed early when nobody waits."""


class Decoder(Protocol):
    """A loaded model. Only `decode` and `counters` are called from the worker's thread."""

    @property
    def vocab(self) -> int: ...
    @property
    def max_context(self) -> int:
        """Tokens of prompt and answer together."""
        ...

    @property
    def eos(self) -> frozenset[int]:
        """Tokens that end an answer unless the request ignores them."""
        ...

    @property
    def max_batch(self) -> int:
        """The most requests of one shape that `decode` takes at once."""
        ...

    @property
    def details(self) -> Mapping[str, str | int | float]:
        """What runs and how, for `/v1/models` and the record of a run."""
        ...

    def check(self, request: CompletionRequest) -> None:
        """Raise a `MoeserveError` for a request that cannot be served; its tokens are valid ids."""
        ...

    def decode(self, batch: Sequence[CompletionRequest]) -> Passes:
        """Generate for requests of one shape; more tokens than asked for are cut by the caller."""
        ...

    def counters(self) -> Mapping[str, float]:
        """Totals since the start, for `/metrics` as `moeserve_decoder_NAME_total`."""
        ...
