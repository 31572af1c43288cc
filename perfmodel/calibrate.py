"""Fit the step-time model's constants to measured runs, blended with where the fit starts.

A maximum of the posterior: with r the natural logarithms of modelled over measured figures (output
throughput, and mean TTFT at half of its weight) and z each constant's distance from where it
starts over its prior standard deviation,

    minimise Σ (r_i / s)² + Σ z_j²,    s² = (s₀² + Σ r_i²) / (1 + n − p)

s₀ is the standard deviation that published measurements show of an estimate, counted as one run; n
the figures, p = tr(I − H⁻¹) the constants that they determine, H the Hessian over z. So one run
moves little, and many that agree with each other decide.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from catalog.errors import BadValue, MissingExtra
from perfmodel.arrays import FloatArray
from perfmodel.constants import DEFAULT, VLLM_2026, Constants
from perfmodel.features import Features, MeasuredRun, features
from perfmodel.fitted_error import ASKED_WORDS, Asked, FittedError, kind_of
from perfmodel.free import free_constants
from perfmodel.known_error import KNOWN_ERRORS, NORMAL_90, WORDS, known_error
from perfmodel.serving import DEFAULT_SETTINGS, ServerSettings

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

CONFIDENCE, NINE_OF_TEN = 0.95, 0.9
SHARED = 0.75
"""A constant is determined where the runs leave less of its prior standard deviation than this."""
_KNOWN = KNOWN_ERRORS[VLLM_2026.name].nine_of_ten
TYPICAL_SD = math.log(_KNOWN["output_throughput"]) / NORMAL_90
TTFT_WEIGHT = math.log(_KNOWN["output_throughput"]) / math.log(_KNOWN["mean_ttft_ms"])
MOST_LOG = 100.0
"""Of a factor: more says no more."""
MOST_ROUNDS, SETTLED = 20, 1e-3
FIRST_SPREAD = 0.05
"""The search begins near the runs: begun near the start it may find no way from there."""


@dataclass(frozen=True, slots=True)
class Constant:
    """One fitted constant; bounds are None where the runs do not determine it."""

    name: str
    value: float
    low: float | None
    high: float | None

    @property
    def determined(self) -> bool:
        return self.low is not None


@dataclass(frozen=True, slots=True)
class CalibrationFit:
    """Fitted constants, each run's error, and the errors of models left out of the fit.

    Errors are modelled over measured throughput, less 1.
    """

    constants: Constants
    fitted: tuple[Constant, ...]
    errors: FloatArray
    rms_log_error: float
    left_out: dict[str, FloatArray]
    """Errors for each model's runs under constants fitted to the others; empty with one model."""


def calibrate(
    runs: Sequence[MeasuredRun],
    *,
    start: Constants = DEFAULT,
    setup: ServerSettings = DEFAULT_SETTINGS,
    name: str = "fitted",
) -> CalibrationFit:
    """Fit every constant that has a prior; the others stay as given."""
    if not runs:
        raise BadValue("measured runs", 0, "at least one")
    if any(not run.output_throughput > 0 for run in runs):
        raise BadValue("output_throughput", "0 or missing", "over 0 in every run of a fit")
    problem = _Problem(runs, features(runs, setup, start), start)
    found = problem.solve(np.ones(len(runs), dtype=bool))
    fitted = problem.intervals(found)
    kept = [
        each.name for each in fitted if not each.determined and getattr(start, each.name) is None
    ]
    beside = f", beside kernels of {setup.kernel_tables.name}" if setup.kernel_tables else ""
    constants = msgspec.structs.replace(
        problem.constants(found.z),
        **dict.fromkeys(kept),
        name=name,
        source=f"fitted to {len(runs)} measured runs, starting from {start.name}{beside}",
        error=fitted_error(runs, start, spread=found.spread, freedom=found.freedom),
    )
    errors = np.expm1(problem.log_errors(found.z)[: len(runs)])
    return CalibrationFit(
        constants=constants,
        fitted=fitted,
        errors=errors,
        rms_log_error=float(np.sqrt(np.mean(np.log1p(errors) ** 2))),
        left_out=_left_out(problem, [run.model.name for run in runs]),
    )


def _left_out(problem: "_Problem", models: list[str]) -> dict[str, FloatArray]:
    names = list(dict.fromkeys(models))
    if len(names) < 2:
        return {}
    errors = {}
    for name in names:
        held = np.array([each == name for each in models])
        errors[name] = np.expm1(problem.log_errors(problem.solve(~held).z)[: len(held)][held])
    return errors


def fitted_error(
    runs: Sequence[MeasuredRun], start: Constants, *, spread: float, freedom: float
) -> FittedError:
    """Nine of ten further runs like these: Student's t of the fit's spread.

    That few runs say little of their spread makes no bound wider than where the fit began; runs
    that the constants cannot give do.
    """
    from scipy.stats import t

    width = spread * float(t.ppf((1 + NINE_OF_TEN) / 2, max(freedom, 1.0)))
    begun = known_error(start.name)
    factors = {}
    for name in WORDS:
        weight = TTFT_WEIGHT if name == "mean_ttft_ms" else 1.0
        known = math.log(begun.nine_of_ten[name]) if begun else math.inf
        log = min(width / weight, max(known, NORMAL_90 * spread / weight))
        factors[name] = math.exp(min(log, MOST_LOG))
    asked = [
        Asked(run.model.total_params, run.input_len, run.output_len,
              min(run.max_concurrency, run.num_prompts))
        for run in runs
    ]  # fmt: skip
    seen = {name: [getattr(each, name) for each in asked] for name in ASKED_WORDS}
    return FittedError(
        runs=len(runs),
        start=start.name,
        factors=tuple(factors.items()),
        gpus=tuple(sorted({run.gpu.name for run in runs})),
        kinds=tuple(sorted({kind_of(run.layout) for run in runs})),
        reach=tuple((name, min(each), max(each)) for name, each in seen.items()),
    )


@dataclass(frozen=True, slots=True)
class _Solution:
    z: FloatArray
    """Each constant's distance from the start, in prior standard deviations."""
    covariance: FloatArray
    """Of z."""
    spread: float
    """Standard deviation of a run's logarithm about the fit."""
    freedom: float


class _Problem:
    def __init__(self, runs: Sequence[MeasuredRun], table: Features, start: Constants) -> None:
        self._table, self._start, self._count = table, start, len(runs)
        tokens = np.array([run.output_len * run.num_prompts for run in runs], dtype=np.float64)
        self._measured_s = tokens / np.array([run.output_throughput for run in runs])
        first_ms = np.array([run.mean_ttft_ms or np.nan for run in runs], dtype=np.float64)
        self._first_s = first_ms / 1e3
        self._free = free_constants(start, first_tokens=not np.isnan(first_ms).all())

    def constants(self, z: FloatArray) -> Constants:
        values = {f.name: f.value(float(at)) for f, at in zip(self._free, z, strict=True)}
        return msgspec.structs.replace(self._start, **values)

    def log_errors(self, z: FloatArray) -> FloatArray:
        """Shape (2 runs,): ln(modelled / measured) of throughput, then weighted of TTFT."""
        constants = self.constants(z)
        modelled_s = self._table.duration_s(constants, self._count)
        first_s = self._table.ttft_s(constants, self._count)
        first = np.nan_to_num(np.log(first_s / self._first_s)) * TTFT_WEIGHT
        return np.concatenate([np.log(self._measured_s / modelled_s), first])

    def solve(self, chosen: FloatArray) -> _Solution:
        """Alternate between the constants and the spread of errors until neither moves."""
        kept = np.concatenate([chosen, chosen & ~np.isnan(self._first_s)])
        figures, spread = int(kept.sum()), FIRST_SPREAD
        z = np.zeros(len(self._free))
        for _ in range(MOST_ROUNDS):
            result = self._minimum(z, kept, spread)
            z = np.asarray(result.x)
            jacobian = np.asarray(result.jac)[:figures]
            covariance = np.linalg.inv(jacobian.T @ jacobian + np.eye(len(z)))
            determined = float(np.trace(np.eye(len(z)) - covariance))
            left = float((self.log_errors(z)[kept] ** 2).sum())
            freedom = 1 + figures - determined
            last, spread = spread, math.sqrt((TYPICAL_SD**2 + left) / freedom)
            if abs(spread - last) <= SETTLED * last:
                break
        return _Solution(z, covariance, spread, freedom)

    def _minimum(self, z: FloatArray, kept: FloatArray, spread: float) -> "OptimizeResult":
        try:
            from scipy.optimize import least_squares
        except ImportError:
            raise MissingExtra("fitting constants", "analysis") from None
        lower = np.array([each.least for each in self._free])
        upper = np.array([each.most for each in self._free])

        def residuals(at: FloatArray) -> FloatArray:
            return np.concatenate([self.log_errors(at)[kept] / spread, at])

        inside = np.clip(z, lower + 1e-6, upper - 1e-6)
        return least_squares(residuals, inside, bounds=(lower, upper))

    def intervals(self, found: _Solution) -> tuple[Constant, ...]:
        """Student-t intervals from the posterior's curvature, of what the runs determine."""
        from scipy.stats import t

        sd = np.sqrt(np.diag(found.covariance))
        width = sd * t.ppf(0.5 + CONFIDENCE / 2, max(found.freedom, 1.0))
        return tuple(
            Constant(
                name=free.name,
                value=free.value(float(found.z[i])),
                low=free.value(max(float(found.z[i] - width[i]), free.least)) if known else None,
                high=free.value(min(float(found.z[i] + width[i]), free.most)) if known else None,
            )
            for i, (free, known) in enumerate(zip(self._free, sd < SHARED, strict=True))
        )
