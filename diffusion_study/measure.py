"""Measure a model's points: every way to decode, in rounds of their own order."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from catalog.models import Model
from diffusion_study.grid import DecodingPoint, DiffusionGrid
from diffusion_study.operations import count_operations
from servers.huggingface.decoder import CompletionRequest
from servers.huggingface.diffusion.backbone import Backbone
from servers.huggingface.diffusion.decoder import DenoisingState, DiffusionDecoder
from servers.huggingface.diffusion.experts import use
from servers.huggingface.diffusion.options import NO_EXPERTS, DiffusionOptions
from workloads.load.prompts import token_prompts

WARM_UP = 2
"""Answers of one pass before the clock counts, for each way to compute experts."""


@dataclass(frozen=True, slots=True)
class DecodingCase:
    """One point decoded in one way."""

    point: DecodingPoint
    options: DiffusionOptions


@dataclass(frozen=True, slots=True)
class CaseRun:
    """One case in one round."""

    case: DecodingCase
    round: int


@dataclass(frozen=True, slots=True)
class Generation:
    """What one run gave."""

    tokens: tuple[int, ...]
    passes_s: tuple[float, ...]
    """How long each forward pass took, with the commit after it."""
    operations: int
    """Of one whole forward pass at this length."""


@dataclass(slots=True)
class CaseResults:
    """What the rounds of a case gave."""

    case: DecodingCase
    answers: list[Generation] = field(default_factory=list)
    agreements: list[float] = field(default_factory=list)
    """Share of each answer's tokens that the plain decoder gives at the same place."""

    @property
    def latencies_s(self) -> list[float]:
        return [sum(answer.passes_s) for answer in self.answers]

    @property
    def passes_s(self) -> list[tuple[float, ...]]:
        return [answer.passes_s for answer in self.answers]


def cases(grid: DiffusionGrid, model: Model) -> tuple[DecodingCase, ...]:
    return tuple(
        DecodingCase(point, options)
        for point in grid.points
        for options in grid.options(model, point)
    )


def runs(grid: DiffusionGrid, model: Model) -> tuple[CaseRun, ...]:
    """Return every case of every round, a round after the other."""
    return tuple(
        CaseRun(case, round_) for round_ in range(grid.repeats) for case in cases(grid, model)
    )


def measure(
    decoder: DiffusionDecoder,
    model: Model,
    grid: DiffusionGrid,
    *,
    seed: int,
    missing: AbstractSet[CaseRun],
    on_progress: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[CaseRun, Generation]]:
    """Time what is missing, each case once a round, all cases of a round on one prompt.

    A round's prompt and random order are its own, so they are the same whenever it is continued.
    """
    listed = cases(grid, model)
    wanted = {run.case for run in missing}
    operations: dict[DecodingCase, int] = {}
    for round_ in range(grid.repeats):
        rng = np.random.default_rng([seed, model.vocab, round_])
        (prompt,) = token_prompts(rng, count=1, length=grid.prompt_length, vocab=model.vocab)
        order = [
            CaseRun(listed[number], round_) for number in rng.permutation(len(listed)).tolist()
        ]
        left = [run for run in order if run in missing]
        if not left:
            continue
        operations = operations or {
            case: _warm_up(decoder, case, prompt) for case in listed if case in wanted
        }
        on_progress(f"{model.name}: round {round_ + 1} of {grid.repeats}")
        for run in left:
            each = prepared(decoder, run.case.options)
            tokens, passes_s = timed(each, prompt.tolist(), run.case.point.length)
            yield run, Generation(tokens, tuple(passes_s), operations[run.case])


def gathered(
    grid: DiffusionGrid, model: Model, answers: Mapping[CaseRun, Generation]
) -> list[CaseResults]:
    """Return what each case gave in the rounds there are, in the order of the grid."""
    found = {case: CaseResults(case) for case in cases(grid, model)}
    plain = _plain(found)
    for run in runs(grid, model):
        if run not in answers:
            continue
        found[run.case].answers.append(answers[run])
        like = plain.get(run.case.point)
        if like is not None and (expected := answers.get(CaseRun(like, run.round))) is not None:
            same = np.array(expected.tokens) == np.array(answers[run].tokens)
            found[run.case].agreements.append(float(same.mean()))
    return [measured for measured in found.values() if measured.answers]


def _plain(given: Iterable[DecodingCase]) -> dict[DecodingPoint, DecodingCase]:
    """Return each point's first case without shortcuts: what the others are compared with."""
    plain: dict[DecodingPoint, DecodingCase] = {}
    for case in given:
        if case.options.kv_cache == "none" and case.options.commit_above is None:
            plain.setdefault(case.point, case)
    return plain


def timed(
    decoder: DiffusionDecoder, prompt: Sequence[int], length: int
) -> tuple[tuple[int, ...], list[float]]:
    """Decode one answer; return it and the time of each pass, which add up to its latency.

    A pass ends when its tokens are on the host, so a GPU's work is in it.
    """
    answer: list[int] = []
    passes_s: list[float] = []
    last_s = time.perf_counter()
    for pieces in decoder.decode([CompletionRequest(tuple(prompt), length, ignore_eos=True)]):
        now_s = time.perf_counter()
        passes_s.append(now_s - last_s)
        last_s = now_s
        for piece in pieces:
            answer += piece.tokens
    return tuple(answer), passes_s


def prepared(decoder: DiffusionDecoder, options: DiffusionOptions) -> DiffusionDecoder:
    """Return the same model decoding another way."""
    use(decoder.backbone.model.config, options.experts)
    return replace(decoder, options=options)


def _warm_up(decoder: DiffusionDecoder, case: DecodingCase, prompt: NDArray[np.int32]) -> int:
    """Run a case's passes a few times; return the operations of one."""
    length = case.point.length
    each = prepared(decoder, replace(case.options, steps=1, block_length=length))
    for _ in range(WARM_UP):
        timed(each, prompt.tolist(), length)
    return operations_of_pass(each.backbone, prompt.tolist(), length)


def operations_of_pass(backbone: Backbone, prompt: Sequence[int], length: int) -> int:
    import torch

    state = DenoisingState([CompletionRequest(tuple(prompt), length)], backbone)
    with torch.inference_mode():
        return count_operations(
            lambda: backbone.logits(
                state.ids, state.sequence_range(range(length)), window=None, cache=None
            )
        )


def experts_name(model: Model, options: DiffusionOptions) -> str:
    return options.experts if model.experts else NO_EXPERTS
