"""Fit the step-time model's constants to measured runs, with intervals and held-out errors.

Residuals are logarithms of modelled over measured output throughput, so every run weighs alike
whatever its size; the constants are fitted as logarithms, so they stay positive.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from catalog.errors import BadValue, MissingExtra
from perfmodel.arrays import FloatArray
from perfmodel.constants import ROOFLINE, Constants
from perfmodel.features import Features, MeasuredRun, features
from perfmodel.serving import DEFAULT_SETUP, Setup

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

FITTED = ("kernel_s", "sequence_s", "memory_efficiency", "hop_s")
# A constant that changes no run's log throughput by this much per e-fold is not determined.
LEAST_SENSITIVITY = 1e-3
CONFIDENCE = 0.95
# Where the search starts and how far from there, in e-folds, it may go.
REACH = 6.0
START_HOP_S = 2e-6


@dataclass(frozen=True, slots=True)
class Constant:
    """One fitted constant; None where the runs do not determine it and the start is kept."""

    name: str
    value: float
    low: float | None
    high: float | None

    @property
    def determined(self) -> bool:
        return self.low is not None


@dataclass(frozen=True, slots=True)
class Fit:
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
    start: Constants = ROOFLINE,
    setup: Setup = DEFAULT_SETUP,
    name: str = "fitted",
) -> Fit:
    """Fit launch, per-sequence, bandwidth and collective constants; the others stay as given."""
    if len(runs) < len(FITTED):
        raise BadValue("measured runs", len(runs), f"at least {len(FITTED)}, one a constant")
    if any(not run.output_throughput > 0 for run in runs):
        raise BadValue("output_throughput", "0 or missing", "over 0 in every run of a fit")
    problem = _Problem(runs, features(runs, setup, start), _started(start))
    everything = np.ones(len(runs), dtype=bool)
    result = problem.solve(everything)
    constants = msgspec.structs.replace(
        problem.constants(result.x),
        name=name,
        source=f"fitted to {len(runs)} measured runs, starting from {start.name}",
    )
    errors = np.expm1(problem.log_errors(result.x))
    return Fit(
        constants=constants,
        fitted=problem.intervals(result),
        errors=errors,
        rms_log_error=float(np.sqrt(np.mean(np.log1p(errors) ** 2))),
        left_out=_left_out(problem, [run.model.name for run in runs]),
    )


def _started(start: Constants) -> Constants:
    return msgspec.structs.replace(
        start, hop_s=start.hop_s or START_HOP_S, network_efficiency=start.network_efficiency
    )


def _left_out(problem: "_Problem", models: list[str]) -> dict[str, FloatArray]:
    names = list(dict.fromkeys(models))
    if len(names) < 2:
        return {}
    errors = {}
    for name in names:
        held = np.array([each == name for each in models])
        if (~held).sum() < len(FITTED):
            continue
        solution = problem.solve(~held)
        errors[name] = np.expm1(problem.log_errors(solution.x)[held])
    return errors


class _Problem:
    def __init__(self, runs: Sequence[MeasuredRun], table: Features, start: Constants) -> None:
        self._table, self._start, self._count = table, start, len(runs)
        tokens = np.array([run.output_len * run.num_prompts for run in runs], dtype=np.float64)
        measured = np.array([run.output_throughput for run in runs])
        self._measured_s = tokens / measured
        self._at_start = np.log([getattr(start, name) for name in FITTED])

    def constants(self, x: FloatArray) -> Constants:
        fitted = dict(zip(FITTED, np.exp(x).tolist(), strict=True))
        return msgspec.structs.replace(self._start, **fitted)

    def log_errors(self, x: FloatArray) -> FloatArray:
        """Shape (runs,): ln(modelled throughput / measured)."""
        modelled_s = self._table.duration_s(self.constants(x), self._count)
        return np.asarray(np.log(self._measured_s / modelled_s))

    def solve(self, chosen: FloatArray) -> "OptimizeResult":
        try:
            from scipy.optimize import least_squares
        except ImportError:
            raise MissingExtra("fitting constants", "analysis") from None
        # No efficiency is over 1; a start beyond its bounds would be refused.
        upper = self._at_start + REACH
        upper[FITTED.index("memory_efficiency")] = 0.0
        start = np.minimum(self._at_start, upper - 1e-6)

        def residuals(x: FloatArray) -> FloatArray:
            return np.asarray(self.log_errors(x)[chosen])

        return least_squares(residuals, start, bounds=(start - REACH, upper))

    def intervals(self, result: "OptimizeResult") -> tuple[Constant, ...]:
        """Student-t intervals from the Jacobian, over the constants the runs determine."""
        from scipy.stats import t

        jacobian = np.asarray(result.jac)
        known = np.sqrt((jacobian**2).mean(axis=0)) > LEAST_SENSITIVITY
        freedom = max(1, len(jacobian) - int(known.sum()))
        variance = float((result.fun**2).sum()) / freedom
        normal = jacobian[:, known].T @ jacobian[:, known]
        spread = np.full(len(FITTED), np.nan)
        spread[known] = np.sqrt(np.diag(np.linalg.pinv(normal)) * variance)
        width = spread * t.ppf(0.5 + CONFIDENCE / 2, freedom)
        return tuple(
            Constant(
                name=name,
                value=float(np.exp(result.x[i])),
                low=float(np.exp(result.x[i] - width[i])) if known[i] else None,
                high=float(np.exp(min(result.x[i] + width[i], 700.0))) if known[i] else None,
            )
            for i, name in enumerate(FITTED)
        )
