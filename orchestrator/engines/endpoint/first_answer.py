"""The first completions of a server that already runs: is it ready, and how does it count?"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean

import numpy as np

from catalog.errors import EndpointError
from orchestrator.engine import Callbacks, Stopped
from orchestrator.engines.endpoint.advice import advice
from orchestrator.engines.endpoint.inspect import LOADING, POLL_S, patience_s
from orchestrator.experiment.asked import workloads_of
from orchestrator.experiment.experiment import Experiment
from orchestrator.measure.readiness import PROBE_INPUT, PROBE_OUTPUT, probed
from workloads.client.payloads import Prompts
from workloads.load.text_prompts import TextPrompts, fitted, prompts_for
from workloads.transcript import RequestRow
from workloads.transport.target import Target

SHORT_WORDS, LEAST_WORDS, MOST_WORDS = 16, 32, 128
"""Lengths of the texts that a server's way of counting is read from."""
TOKENS_PER_WORD = 3
"""At most, in all but toy vocabularies: a text of a third as many words has the tokens wanted."""
TEXTS = 3
"""Of each length: words differ in their tokens."""
MOST_UNSEEN = 4
"""Answers without a visible token, after which it is not by chance."""


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """What the first completions showed."""

    answered_by: str
    texts: TextPrompts | None
    ends_at_done: bool
    """Whether the response is left open behind the end of its stream."""
    notes: tuple[str, ...] = ()


async def first_answer(
    experiment: Experiment, target: Target, vocab: int, callbacks: Callbacks
) -> FirstAnswer:
    """Stream a completion, and where prompts are text two more, of which the lengths are known.

    Waits while the server says that it is loading; EndpointError says what else went wrong, in the
    server's words, and the way out.
    """
    rng, options = np.random.default_rng(), experiment.endpoint_options
    texts = TextPrompts() if options.texts else None

    def draw() -> Prompts:
        return prompts_for(rng, 1, PROBE_INPUT, vocab, texts)

    row = await _when_ready(experiment, target, draw, callbacks)
    first = FirstAnswer(row.answered_by, texts, "LEFT_OPEN" in row.notes)
    if texts is None:
        return first
    target = replace(target, ends_at_done=first.ends_at_done)
    counts = []
    lengths = (SHORT_WORDS, _long_words(experiment))
    for words in lengths:
        draw = partial(texts.draw, rng, count=1, length=words)
        rows = [await _when_ready(experiment, target, draw, callbacks) for _ in range(TEXTS)]
        told = [row.server_input_tokens or 0 for row in rows]
        counts.append(fmean(told) if all(told) else 0.0)  # of some alone there is no mean
    short, long = counts
    if not short or not long:
        note = "PROMPT_UNKNOWN: the server does not count prompts; a word was taken for a token"
        return replace(first, notes=(note,))
    return replace(first, texts=fitted(lengths, (short, long)))


def _long_words(experiment: Experiment) -> int:
    """Return a length that the server must take for the workloads asked for."""
    named = experiment.models[0] if experiment.models else ""
    lengths = [each.known_input_len for each in workloads_of(experiment, named)]
    longest = max((length for length in lengths if length is not None), default=0)
    return min(MOST_WORDS, max(LEAST_WORDS, longest // TOKENS_PER_WORD))


async def _when_ready(
    experiment: Experiment,
    target: Target,
    draw: Callable[[], Prompts],
    callbacks: Callbacks,
) -> RequestRow:
    """Return the first answer that ends well.

    Nothing may be seen of an answer whose few tokens make no whole character; then another prompt
    is tried.
    """
    limit_s, _ = patience_s(experiment)
    deadline = time.monotonic() + limit_s
    unseen = 0
    while True:
        (row,) = await probed(target, draw())
        if row.status == "ok":
            return row
        if row.error_class == "TOKEN_COUNT_MISMATCH" and not row.output_tokens:
            unseen += 1
            if unseen < MOST_UNSEEN:
                continue
        if callbacks.stop.is_set():
            raise Stopped
        status = int(row.error[:3]) if row.error[:3].isdigit() else 0
        if status not in LOADING or time.monotonic() > deadline:
            raise _refusal(experiment, target, row)
        callbacks.on_stage(f"waiting for the server: {row.error}")
        await asyncio.sleep(POLL_S)


def _refusal(experiment: Experiment, target: Target, row: RequestRow) -> EndpointError:
    way_out = advice(row.error_class, row.error, experiment.endpoint_options)
    return EndpointError(
        f"NOT_READY: {target.base_url}: a completion of {PROBE_OUTPUT} tokens failed with "
        f"{row.error_class}: {row.error}" + (f"; {way_out}" if way_out else "")
    )
