"""What a server says it counted, under the names and in the places that servers use."""

from collections.abc import Mapping
from typing import Any

import msgspec

from catalog.bounded import WholeRange
from catalog.errors import shown
from workloads.protocol.failure import Failure

Count = int | float | str | None
"""A server that lies about its usage may send anything here; see `count_of`."""


class InputDetails(msgspec.Struct, gc=False):
    cached_tokens: Count = None


class OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: int | float | None = None


class Usage(msgspec.Struct, gc=False):
    """OpenAI's names, and beside them those of its newer API, which some gateways pass on.

    Tokens out of a cache: OpenAI `prompt_tokens_details`, DeepSeek `prompt_cache_hit_tokens`,
    Moonshot `cached_tokens`, Anthropic's and LiteLLM's `cache_read_input_tokens`.
    """

    prompt_tokens: Count = None
    completion_tokens: Count = None
    prompt_tokens_details: InputDetails | None = None
    completion_tokens_details: OutputDetails | None = None
    input_tokens: Count = None
    output_tokens: Count = None
    input_tokens_details: InputDetails | None = None
    output_tokens_details: OutputDetails | None = None
    prompt_cache_hit_tokens: Count = None
    cached_tokens: Count = None
    cache_read_input_tokens: Count = None
    reasoning_tokens: int | float | None = None
    """SGLang's place for it."""

    @property
    def prompt(self) -> Count:
        return self.input_tokens if self.prompt_tokens is None else self.prompt_tokens

    @property
    def completion(self) -> Count:
        return self.output_tokens if self.completion_tokens is None else self.completion_tokens

    @property
    def thoughts(self) -> float:
        """Tokens of the answer that are its thoughts, as far as that is told."""
        details = self.completion_tokens_details or self.output_tokens_details
        return (details and details.reasoning_tokens) or self.reasoning_tokens or 0

    @property
    def cached(self) -> Count:
        """The most that any place tells: some leave a 0 where they count none."""
        details = self.prompt_tokens_details or self.input_tokens_details
        told = (
            None if details is None else details.cached_tokens,
            self.prompt_cache_hit_tokens,
            self.cached_tokens,
            self.cache_read_input_tokens,
        )
        known = [each for each in told if each is not None and is_number(each)]
        numbers = [int(each) if isinstance(each, str) else each for each in known]
        return max(numbers, default=None)


def is_number(said: float | str) -> bool:
    return not isinstance(said, str) or (said.isascii() and said.isdecimal() and len(said) < LONG)


LONG = 16
"""Digits of a number written as text, beyond any count."""
COUNTS = (
    "prompt_tokens",
    "completion_tokens",
    "input_tokens",
    "output_tokens",
    "prompt_cache_hit_tokens",
    "cached_tokens",
    "cache_read_input_tokens",
)
INPUTS = ("prompt_tokens_details", "input_tokens_details")
OUTPUTS = ("completion_tokens_details", "output_tokens_details")


class Timings(msgspec.Struct, gc=False):
    """llama.cpp's words beside usage."""

    cache_n: Count = None


class Wrapped(msgspec.Struct, gc=False):
    """A further object with usage in it, as Groq's `x_groq`."""

    usage: Usage | None = None


def usage_of(found: object) -> Usage | None:
    """Return the usage in JSON of any shape, as far as it can be read."""
    if not isinstance(found, Mapping):
        return None
    told: dict[str, Any] = {name: _count(found.get(name)) for name in COUNTS}
    told |= {name: InputDetails(_within(found, name, "cached_tokens")) for name in INPUTS}
    told |= {name: OutputDetails(_within(found, name, "reasoning_tokens")) for name in OUTPUTS}
    return Usage(**told, reasoning_tokens=_number(found.get("reasoning_tokens")))


def _within(found: Mapping[str, Any], place: str, name: str) -> int | float | None:
    details = found.get(place)
    return _number(details.get(name)) if isinstance(details, Mapping) else None


def _number(said: object) -> int | float | None:
    return said if type(said) in (int, float) else None  # type: ignore[return-value]


def _count(said: object) -> Count:
    if said is None or type(said) in (int, float, str):
        return said  # type: ignore[return-value]
    return shown(said)


def count_of(said: Count, name: str, most: int) -> int | None:
    """Return a token count that a server reported, None if it reported none.

    A whole number may be written as a fraction, 16.0, or as text. Raises `Failure` for what is no
    count, or one that no answer to this request can have: a count becomes a size, so it is never
    believed beyond `most`.
    """
    # What a `WholeRange` does, in place: some servers report usage with every token.
    if said is None or (type(said) is int and 0 <= said <= most):
        return said
    if isinstance(said, float) and said.is_integer() and 0 <= said <= most:
        return int(said)
    allowed = WholeRange(0, most)
    told = allowed.parse(said) if isinstance(said, str) and is_number(said) else None
    if told is None:
        raise Failure(
            "TOKEN_COUNT_MISMATCH", f"usage.{name} is {shown(said)}, not {allowed.allowed}"
        )
    return told
