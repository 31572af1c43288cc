"""Measure a model's points: every way to decode, in rounds of their own order."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from catalog.models import Model
from orchestrator.hfserver.decoder import Ask
from orchestrator.hfserver.diffusion.backbone import Backbone
from orchestrator.hfserver.diffusion.decoder import Canvas, DiffusionDecoder
from orchestrator.hfserver.diffusion.experts import use
from orchestrator.hfserver.diffusion.grid import NO_EXPERTS, Grid, Point
from orchestrator.hfserver.diffusion.operations import count_operations
from orchestrator.hfserver.diffusion.options import Options
from workloads.prompts import token_prompts

WARM_UP = 2
"""Answers of one pass before the clock counts, for each way to compute experts."""


@dataclass(frozen=True, slots=True)
class Case:
    """One point decoded in one way."""

    point: Point
    options: Options


@dataclass(slots=True)
class Measured:
    """What every round of a case gave."""

    case: Case
    latencies_s: list[float] = field(default_factory=list)
    passes_s: list[list[float]] = field(default_factory=list)
    """How long each forward pass of each round took, with the commit after it."""
    agreements: list[float] = field(default_factory=list)
    """Share of each answer's tokens that the plain decoder gives at the same place."""
    operations: int = 0
    """Of one whole forward pass at this length."""


def cases(grid: Grid, model: Model) -> tuple[Case, ...]:
    return tuple(
        Case(point, options) for point in grid.points for options in grid.options(model, point)
    )


def measure(
    decoder: DiffusionDecoder,
    model: Model,
    grid: Grid,
    *,
    seed: int,
    listen: Callable[[str], None] = lambda _: None,
) -> list[Measured]:
    """Time every case once a round, in a random order, all cases of a round on one prompt."""
    found = [Measured(case) for case in cases(grid, model)]
    rng = np.random.default_rng([seed, model.vocab])
    prompts = token_prompts(rng, count=grid.repeats, length=grid.prompt_length, vocab=model.vocab)
    _warm_up(decoder, found, prompts[0])
    for round_, prompt in enumerate(prompts):
        listen(f"{model.name}: round {round_ + 1} of {grid.repeats}")
        answers = dict(_round(decoder, found, prompt, rng))
        _compare(found, answers)
    return found


def _round(
    decoder: DiffusionDecoder,
    found: Sequence[Measured],
    prompt: NDArray[np.int32],
    rng: np.random.Generator,
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield each case's number and its answer."""
    for number in rng.permutation(len(found)).tolist():
        measured = found[number]
        each = prepared(decoder, measured.case.options)
        answer, passes_s = timed(each, prompt.tolist(), measured.case.point.length)
        measured.latencies_s.append(sum(passes_s))
        measured.passes_s.append(passes_s)
        yield number, answer


def timed(
    decoder: DiffusionDecoder, prompt: Sequence[int], length: int
) -> tuple[tuple[int, ...], list[float]]:
    """Decode one answer; return it and the time of each pass, which add up to its latency.

    A pass ends when its tokens are on the host, so a GPU's work is in it.
    """
    answer: list[int] = []
    passes_s: list[float] = []
    last_s = time.perf_counter()
    for pieces in decoder.decode([Ask(tuple(prompt), length, ignore_eos=True)]):
        now_s = time.perf_counter()
        passes_s.append(now_s - last_s)
        last_s = now_s
        for piece in pieces:
            answer += piece.tokens
    return tuple(answer), passes_s


def prepared(decoder: DiffusionDecoder, options: Options) -> DiffusionDecoder:
    """Return the same model decoding another way."""
    use(decoder.backbone.model.config, options.experts)
    return replace(decoder, options=options)


def _warm_up(
    decoder: DiffusionDecoder, found: Sequence[Measured], prompt: NDArray[np.int32]
) -> None:
    """Run each case's passes a few times, and count the operations of one."""
    for measured in found:
        length = measured.case.point.length
        each = prepared(decoder, replace(measured.case.options, steps=1, block_length=length))
        for _ in range(WARM_UP):
            timed(each, prompt.tolist(), length)
        measured.operations = operations_of_pass(each.backbone, prompt.tolist(), length)


def operations_of_pass(backbone: Backbone, prompt: Sequence[int], length: int) -> int:
    import torch

    canvas = Canvas([Ask(tuple(prompt), length)], backbone)
    with torch.inference_mode():
        return count_operations(
            lambda: backbone.logits(
                canvas.ids, canvas.in_whole(range(length)), window=None, cache=None
            )
        )


def _compare(found: Sequence[Measured], answers: dict[int, tuple[int, ...]]) -> None:
    """Compare each case's answer with that of its point's first plain case, if it has one."""
    plain: dict[Point, tuple[int, ...]] = {}
    for number, measured in enumerate(found):
        options = measured.case.options
        if options.kv_cache == "none" and options.commit_above is None:
            plain.setdefault(measured.case.point, answers[number])
    for number, measured in enumerate(found):
        if measured.case.point in plain:
            expected, answer = np.array(plain[measured.case.point]), np.array(answers[number])
            measured.agreements.append(float((expected == answer).mean()))


def experts_name(model: Model, options: Options) -> str:
    return options.experts if model.experts else NO_EXPERTS
