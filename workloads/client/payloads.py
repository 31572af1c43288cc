"""Request bytes, prepared before they are due."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from catalog.bounded import TOKENS
from workloads.transport.target import Prompt, Target

Prompts = NDArray[np.int32] | Sequence[Prompt]

MEGABYTE = 1_000_000
AHEAD_BYTES = 64 * MEGABYTE
LONGEST_CHARACTER = 4
"""Bytes in UTF-8."""
LONGEST_TEMPLATE = 4096
"""Tokens that a server may put around a text of its own: a chat template, a system prompt."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What is asked of each answer."""

    output_lens: Sequence[int]
    natural: Sequence[bool] | None = None
    """Which end where the model ends them, after at most so many; None for none."""

    @classmethod
    def of(cls, asked: "int | Answers", count: int) -> "Answers":
        """Return the answers of `count` requests; one length is of all of them."""
        return asked if isinstance(asked, Answers) else cls([asked] * count)


class Payloads:
    """The requests' bytes in the order they are sent, some tens of megabytes ahead."""

    def __init__(self, target: Target, prompts: Prompts, output_len: int | Answers) -> None:
        self._target, self._prompts = target, prompts
        answers = Answers.of(output_len, len(prompts))
        self.output_lens, self._natural = answers.output_lens, answers.natural
        self._prepared: dict[int, bytes] = {}
        self.held_bytes = 0
        self._next = 0

    def __len__(self) -> int:
        return len(self._prompts)

    def input_tokens(self, request: int) -> int | None:
        """Return the prompt's length if it was given as token ids."""
        prompt = self._prompts[request]
        return len(prompt) if isinstance(prompt, np.ndarray) else None

    def most_input_tokens(self, request: int) -> int:
        """Return what a server may at most say it read: a byte of text is a token or less.

        Of token ids any count may be said; it is compared with what was sent.
        """
        prompt = self._prompts[request]
        if isinstance(prompt, np.ndarray):
            return TOKENS.most
        texts = [prompt] if isinstance(prompt, str) else [str(each) for each in prompt]
        return sum(LONGEST_CHARACTER * len(text) for text in texts) + LONGEST_TEMPLATE

    def prepare(self, seconds: float) -> None:
        """Prepare requests until the time or the allowance is used up."""
        until = perf_counter() + seconds
        while self._next < len(self._prompts) and self.held_bytes < AHEAD_BYTES:
            payload = self._build(self._next)
            self._prepared[self._next] = payload
            self.held_bytes += len(payload)
            self._next += 1
            if perf_counter() > until:
                return

    def take(self, request: int) -> bytes:
        """Return one request's bytes and forget them."""
        payload = self._prepared.pop(request, None)
        if payload is None:
            self._next = max(self._next, request + 1)
            return self._build(request)
        self.held_bytes -= len(payload)
        return payload

    def _build(self, request: int) -> bytes:
        natural = self._natural is not None and self._natural[request]
        return self._target.request(
            self._prompts[request], self.output_lens[request], natural=natural
        )
