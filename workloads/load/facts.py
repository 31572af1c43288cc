"""What is known of a part before anything is drawn: its mean lengths, its longest, how many."""

from dataclasses import dataclass

import numpy as np

from workloads.load.content import UNKNOWN, length_of
from workloads.load.files.entries import longest_of, read_entries
from workloads.load.files.histogram import read_histogram
from workloads.load.files.trace import read_trace
from workloads.load.workload import Lengths, LengthsFile, Part, PromptFile, TraceFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Tokens of a part's requests; None where its prompts are text that nobody has tokenised."""

    mean_input: float | None
    mean_output: float
    longest: int | None
    """The longest prompt and answer together."""
    available: int | None = None
    """Requests there are; None where as many as are wanted can be drawn."""
    rate_per_s: float | None = None
    """At which a trace had those arrive."""
    longest_at: str = ""
    """Where a file has its longest prompt."""


def facts_of(part: Part, most: int | None) -> Facts:
    """Return the facts of a part, of a file or a trace those of its first `most` requests."""
    source = part.source
    if isinstance(source, PromptFile):
        return _of_prompts(source, most)
    if isinstance(source, TraceFile):
        return _of_trace(source, most)
    if isinstance(source, Lengths):
        means = source.input.mean, source.output.mean
        longest = source.input.most_tokens, source.output.most_tokens
    else:
        means, longest = _of_histogram(source)
    return _of_turns(part, means, longest)


def _of_histogram(source: LengthsFile) -> tuple[tuple[float, float], tuple[int, int]]:
    found = read_histogram(source.path, source.digest)
    means = float(found.input_lens @ found.weights), float(found.output_lens @ found.weights)
    return means, (int(found.input_lens.max()), int(found.output_lens.max()))


def _of_turns(part: Part, means: tuple[float, float], longest: tuple[int, int]) -> Facts:
    """Turn t of T begins with the prefix, t − 1 earlier prompts and t − 1 answers."""
    prefix = part.prefix.tokens if part.prefix else 0
    earlier = (part.turns - 1) / 2 * sum(means)
    return Facts(
        mean_input=prefix + means[0] + earlier,
        mean_output=means[1],
        longest=prefix + part.turns * sum(longest),
    )


def _of_trace(source: TraceFile, most: int | None) -> Facts:
    trace = read_trace(source)
    inputs, outputs = trace.input_lens[:most], trace.output_lens[:most]
    return Facts(
        mean_input=float(inputs.mean()),
        mean_output=float(outputs.mean()),
        longest=int((inputs + outputs).max()),
        available=len(trace),
        rate_per_s=trace.rate_per_s(most),
    )


def _of_prompts(source: PromptFile, most: int | None) -> Facts:
    found = read_entries(source)
    first = found[:most]
    inputs = np.array([UNKNOWN if (n := length_of(e.prompt)) is None else n for e in first])
    outputs = np.array([entry.output_len for entry in first])
    known = bool((inputs != UNKNOWN).all())
    return Facts(
        mean_input=float(inputs.mean()) if known else None,
        mean_output=float(outputs.mean()),
        longest=int((inputs + outputs).max()) if known else None,
        available=len(found),
        longest_at=f"{source.path}: line {longest_of(first).line}: prompt" if known else "",
    )
