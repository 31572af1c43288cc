"""What a characterisation measures: points of steps and length, and ways to decode them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from catalog.errors import BadValue
from catalog.models import Model
from servers.huggingface.diffusion.memory import check_memory
from servers.huggingface.diffusion.options import (
    DEFAULT_BLOCK,
    DiffusionOptions,
    ExpertsImplementation,
    KvCache,
)

STEPS = (32, 64, 128)
LENGTHS = (64, 128, 256)
CENTRE_STEPS, CENTRE_LENGTH = 64, 128
MOST_REPEATS = 10_000
"""The experts implementation of a dense model."""


@dataclass(frozen=True, slots=True)
class DecodingPoint:
    """One configuration of the published table; `sweep` says which of its halves it is in."""

    sweep: str
    steps: int
    length: int


# Table VII of the parallelism paper: t = length / (steps · tok/s) is 40.6 ms (dense) and 399 ms
# (MoE) within 6 % in all six rows only if steps vary at length 128 and the length at 64 steps, so
# the centre is measured twice.
PAPER_POINTS = (
    *(DecodingPoint("steps", steps, CENTRE_LENGTH) for steps in STEPS),
    *(DecodingPoint("generation_length", CENTRE_STEPS, length) for length in LENGTHS),
)


def points(steps: Sequence[int], lengths: Sequence[int]) -> tuple[DecodingPoint, ...]:
    """Return the paper's six, or every pair of what was given; one list alone keeps the centre."""
    if not steps and not lengths:
        return PAPER_POINTS
    given = product(steps or (CENTRE_STEPS,), lengths or (CENTRE_LENGTH,))
    return tuple(DecodingPoint("given", step, length) for step, length in given)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusionGrid:
    """Everything measured on each model."""

    points: tuple[DecodingPoint, ...]
    experts: tuple[ExpertsImplementation, ...] = ("loop", "batched", "grouped")
    kv_caches: tuple[KvCache, ...] = ("none",)
    commit_above: tuple[float | None, ...] = (None,)
    block_length: int = DEFAULT_BLOCK
    prompt_length: int = 32
    repeats: int = 3

    def options(self, model: Model, point: DecodingPoint) -> Iterator[DiffusionOptions]:
        """Yield the ways to decode a point, the plain decoder with the first experts before all."""
        experts = self.experts if model.experts else self.experts[:1]
        for above, cache, each in product(self.commit_above, self.kv_caches, experts):
            yield DiffusionOptions(
                steps=point.steps,
                block_length=self.block_length,
                experts=each,
                kv_cache=cache,
                commit_above=above,
            )

    def check(self, model: Model, *, available_bytes: float | None = None) -> None:
        """Refuse what cannot be measured, before the model is loaded."""
        if self.prompt_length < 1:
            raise BadValue("--prompt-length", self.prompt_length, "1 or more")
        if not 1 <= self.repeats <= MOST_REPEATS:
            raise BadValue("--num-runs", self.repeats, f"1 to {MOST_REPEATS}")
        for point in self.points:
            tokens = self.prompt_length + point.length
            if 0 < model.max_context < tokens:
                allowed = f"{model.max_context} with the answer of {point.length} on {model.name}"
                raise BadValue("--prompt-length", self.prompt_length, allowed)
            for options in self.options(model, point):
                options.check_even(point.length)
                check_memory(model, options, tokens, available_bytes=available_bytes)
