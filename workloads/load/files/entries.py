"""What a file of prompts gives: one entry a request, in the order of the file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workloads.load.content import Prompt
from workloads.load.workload import PromptFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One request of a file; a session's turns stand one behind the other."""

    prompt: Prompt
    output_len: int
    session: int
    turn: int = 0
    think_s: float = 0.0
    line: int = 0
    """Where the file has it."""


Entries = Callable[[PromptFile], Sequence[Entry]]
"""Returns a file's requests, in tokens as far as a tokenizer was at hand."""
