"""How far a calibration's estimates are from published measurements, and bounds made of that.

Factors of estimated over measured, from benchmarks/perfmodel/published_errors.py: 216 measurements
of vLLM servers, three sources, four models, four GPUs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from catalog.hardware import Gpu
from catalog.versions import release
from perfmodel.constants import CALIBRATIONS, VLLM_2026, VLLM_2026_KERNELS, beside_kernels
from perfmodel.fitted_error import NOTHING_ASKED, Asked, FittedError, beyond
from strategies.layout import Layout

TIE = 1.036
"""Layouts whose output throughputs are nearer than this are not told apart: half of the estimated
ratios of `tpN+ep` to `tpN` were within this of published ones, and all that named the wrong one.
That of pipelines and data parallelism was off by 1.1 to 2.1, though it named the better one of all
four pairs."""
RATIOS_OFF = (1.1, 2.1)
"""Least and most of how far those of pipelines and data parallelism were off."""
WORDS = {"output_throughput": "tokens/s", "mean_tpot_ms": "TPOT", "mean_ttft_ms": "TTFT"}
WIDER = 1.5
"""Exponent of the factors where nothing was published: nine of ten points of a whole source left
out of the fit were within 1.9 in throughput, 2.1 in TPOT and 3.7 in TTFT. Of several reasons the
variances add: sqrt(1 + (WIDER^2 - 1) reasons)."""

LEVEL_SINCE = "0.16"
"""Servers of this version on are as fast as estimated: the median of their source is 1.00."""
SLOWER_BEFORE = (1.1, 1.4)
"""Estimated over measured tokens/s of 0.10 to 0.12: the median of each of two sources."""


def wider(reasons: int) -> float:
    """The exponent of factors where so many things are away from what was measured."""
    return math.sqrt(1 + (WIDER**2 - 1) * reasons)


NORMAL_90 = 1.6448536269514722
"""Standard deviations of a normal within which nine in ten lie."""


@dataclass(frozen=True, slots=True)
class KnownError:
    """The factor that half of the points are within, and the one that nine of ten are."""

    points: int
    typical: dict[str, float]
    nine_of_ten: dict[str, float]
    gpus: frozenset[str]
    reach: dict[str, tuple[float, float]]
    """Least and most of each part of `Asked` among the points."""

    def outside(self, layout: Layout, gpu: Gpu, asked: Asked = NOTHING_ASKED) -> tuple[str, ...]:
        """Say what of a question is away from what was measured.

        That is tensor parallelism, with expert parallelism or without, within a node.
        """
        said = []
        if layout.tp < layout.num_gpus:
            said.append("data or pipeline parallelism was not compared")
        elif layout.tp > (gpu.island or gpu.per_node):
            said.append("several nodes were not compared")
        if gpu.name not in self.gpus:
            said.append(f"{gpu.name} was not compared")
        reach = [(name, *span) for name, span in self.reach.items()]
        return tuple(said + beyond(reach, asked, "compared"))

    def factors(self, layout: Layout, gpu: Gpu, asked: Asked = NOTHING_ASKED) -> dict[str, float]:
        """Return the 90 % factor of each column, wider away from what was measured."""
        power = wider(len(self.outside(layout, gpu, asked)))
        return {name: factor**power for name, factor in self.nine_of_ten.items()}

    def __str__(self) -> str:
        typical, most = self.typical, self.nine_of_ten
        parts = [f"{typical[name]:g} and {most[name]:g} ({word})" for name, word in WORDS.items()]
        return (
            f"of {self.points} published measurements half and nine in ten are within a factor of "
            + ", ".join(parts)
        )


_TYPICAL = {"output_throughput": 1.09, "mean_tpot_ms": 1.09, "mean_ttft_ms": 1.19}
_NINE_OF_TEN = {"output_throughput": 1.6, "mean_tpot_ms": 1.6, "mean_ttft_ms": 2.0}
_REACH: dict[str, tuple[float, float]] = {
    "total_params": (20.9e9, 235.1e9),
    "input_len": (128, 32_000),
    "output_len": (100, 7373),
    "in_flight": (4, 256),
}
"""Of parameters and prompts what the points span. Answers of 4 tokens and 500 to 1000 requests sent
at once are of one source alone, and other points of that kind are up to 2.7 times slower."""
KNOWN_ERRORS = {
    VLLM_2026.name: KnownError(
        points=216,
        typical=_TYPICAL,
        nine_of_ten=_NINE_OF_TEN,
        gpus=frozenset({"A100-80GB", "H100", "H200", "MI300X"}),
        reach=_REACH,
    ),
    # A user's own kernels were compared on no GPU.
    beside_kernels(VLLM_2026, own=True): KnownError(
        points=216,
        typical=_TYPICAL,
        nine_of_ten=_NINE_OF_TEN,
        gpus=frozenset(),
        reach=_REACH,
    ),
    # Those whose experts are in the tables of aiconfigurator-core 0.12.
    beside_kernels(VLLM_2026_KERNELS): KnownError(
        points=200,
        typical={"output_throughput": 1.12, "mean_tpot_ms": 1.12, "mean_ttft_ms": 1.25},
        nine_of_ten={"output_throughput": 1.75, "mean_tpot_ms": 1.8, "mean_ttft_ms": 2.1},
        gpus=frozenset({"H100", "H200"}),
        reach=_REACH,
    ),
    # The same points by constants that were fitted without kernels.
    beside_kernels(VLLM_2026): KnownError(
        points=200,
        typical={"output_throughput": 1.17, "mean_tpot_ms": 1.18, "mean_ttft_ms": 1.26},
        nine_of_ten={"output_throughput": 1.7, "mean_tpot_ms": 1.8, "mean_ttft_ms": 2.1},
        gpus=frozenset({"H100", "H200"}),
        reach=_REACH,
    ),
}
"""Of calibrations compared with published measurements; of others no error is known."""


def known_error(calibration: str) -> KnownError | None:
    """None where a calibration was compared with nothing."""
    return KNOWN_ERRORS.get(calibration)


def tied(one: float | None, two: float | None) -> bool:
    """Whether two layouts' throughputs are too near for the model to say which is better."""
    return bool(one and two) and max(one or 0, two or 0) < TIE * min(one or 0, two or 0)


def tied_names(names: Sequence[str], values: Sequence[float | None]) -> list[str]:
    """For each of several layouts under one load, the names of those not told from it."""
    found = []
    for own, value in zip(names, values, strict=True):
        alike = [n for n, v in zip(names, values, strict=True) if n != own and tied(value, v)]
        found.append(",".join(alike))
    return found


def pricing_of(engine_version: str) -> str | None:
    """What priced simulated rows, by their `engine_version`; None of what is not ours."""
    name, *tables = engine_version.split(": ", 1)
    ours = set(CALIBRATIONS)
    if tables:
        sets = CALIBRATIONS.values()
        ours = {beside_kernels(each, own=own) for each in sets for own in (False, True)}
    return name if name in ours else None


@dataclass(frozen=True, slots=True)
class Confidence:
    """What is known of an estimate's error: 90 % factors by column, and what makes them wide."""

    factors: Mapping[str, float]
    """Empty where the calibration was compared with nothing."""
    outside: tuple[str, ...]


def confidence(
    calibration: str,
    layout: Layout,
    gpu: Gpu,
    asked: Asked = NOTHING_ASKED,
    *,
    fitted: FittedError | None = None,
) -> Confidence:
    """How far an estimate may be off; `fitted` is of constants fitted to someone's own runs.

    Those hold among the runs; elsewhere the errors of the calibration that the fit began with.
    """
    if fitted is None:
        if (known := known_error(calibration)) is None:
            return Confidence({}, ())
        return Confidence(known.factors(layout, gpu, asked), known.outside(layout, gpu, asked))
    factors, outside = dict(fitted.factors), fitted.outside(layout, gpu, asked)
    if not outside:
        return Confidence(factors, ())
    begun = confidence(fitted.start, layout, gpu, asked).factors
    power = wider(len(outside))
    return Confidence(begun or {name: each**power for name, each in factors.items()}, outside)


def error_note(calibration: str, fitted: FittedError | None = None) -> str:
    """Say in a line how far estimates by a calibration are known to be off."""
    if fitted is not None:
        told = ", ".join(f"{factor:.3g} ({WORDS[name]})" for name, factor in fitted.factors)
        return (
            f"calibration {calibration}: fitted to {fitted.runs} runs; nine in ten like them are "
            f"within a factor of {told}, others as {fitted.start} is"
        )
    known = KNOWN_ERRORS.get(calibration, "compared with no measurement")
    return f"calibration {calibration}: {known}"


def version_note(calibration: str, engine_version: str | None) -> str | None:
    """Say by how much published servers older than the level were slower; None of newer ones."""
    compared = calibration.startswith(VLLM_2026.name) and calibration in KNOWN_ERRORS
    if not compared or engine_version is None or release(engine_version) >= release(LEVEL_SINCE):
        return None
    low, high = SLOWER_BEFORE
    return (
        f"published servers of vLLM 0.10 to 0.12 were {low:g} and {high:g} times slower than "
        f"estimated (tokens/s, medians of two sources), those from {LEVEL_SINCE} on were not: "
        f"expect less of {engine_version}"
    )


def error_bounds(
    calibration: str,
    layout: Layout,
    gpu: Gpu,
    figures: Mapping[str, float | None],
    asked: Asked = NOTHING_ASKED,
    *,
    fitted: FittedError | None = None,
) -> dict[str, float | None]:
    """Return `low_…` and `high_…` of throughput, TTFT and TPOT: 90 % bounds.

    None where the calibration was compared with nothing, where there is no estimate, or where it
    is 0, as the TPOT of an answer that comes with its first token: a factor says nothing of that.
    """
    factors = confidence(calibration, layout, gpu, asked, fitted=fitted).factors
    found: dict[str, float | None] = {}
    for name in WORDS:
        low = high = None
        if (value := figures.get(name)) and name in factors:
            low, high = value / factors[name], value * factors[name]
        found |= {f"low_{name}": low, f"high_{name}": high}
    return found
