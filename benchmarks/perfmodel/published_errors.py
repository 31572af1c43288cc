"""How far calibrations are from published measurements, whole groups left out of the fit as well.

    python benchmarks/perfmodel/published_errors.py [CALIBRATION ...] [--refit [FILE.json]]
        [--kernel-tables installed|DIR]
    python benchmarks/perfmodel/published_errors.py --left-out

Prints, for each calibration, the factor of estimated over measured: its median, the size that half
of the points are within, and that of nine in ten; over all points and by source, model, GPU and
layout. `--refit` fits the constants of `vllm-2026` that serving measurements determine anew,
prints them, and leaves out each source, model and GPU in turn; with a file it writes all fits
there, as `perfmodel/data/left_out_fits.json` keeps them. With tables of measured kernels only the
points whose experts are in them count, estimated without the tables and with them, and `--refit`
fits what the tables leave over. A few minutes. Needs scipy. `--left-out` prints the errors of the
kept fits on what each has not seen and writes them to `perfmodel/data/left_out_errors.json`, which
`moeserve estimate --about-calibration` shows: run it after `--refit`.
"""

import functools
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from catalog.versions import release
from perfmodel import left_out
from perfmodel.arrays import FloatArray
from perfmodel.constants import CALIBRATIONS, VLLM_2026, Constants, calibration
from perfmodel.kernel_tables.source import KernelTables, kernel_tables
from perfmodel.known_error import LEVEL_SINCE
from perfmodel.left_out import left_out_pairs, summaries
from perfmodel.published import (
    FIGURES,
    Point,
    PointTable,
    estimate,
    log_error,
    log_errors,
    point_kernels,
    published_points,
)

GROUPS = ("source", "model", "gpu", "layout")
LEFT_OUT = Path(left_out.__file__).parent / "data" / "left_out_errors.json"
FITTED = {
    "kernel_s": (3.0e-6, 0.2),
    "sequence_s": (30e-6, 0.7),
    "token_passes": (40.0, 0.7),
    "expert_efficiency": (0.30, 0.15),
    "first_token_s": (15e-3, 1.0),
    "intake_s": (2e-3, 0.7),
    "step_s": (0.2e-3, 0.7),
}
"""Where each constant is expected without any serving measurement, and the standard deviation of
its logarithm: a kernel's constant and the experts' efficiency from measured kernels, passes by
counting, the others about what an API server and a Python scheduler take."""
EFFICIENCY = "expert_efficiency"
ERROR_SD = 0.15
"""Of one figure about its source's level."""
LEVEL_SD = 0.25
"""Of a source's level: engine version, flags, clocks and clients, which no constant knows. Sources
of `LEVEL_SINCE` on have none: they are what the constants are to price."""
LEVELS = np.array([1.0, -1.0, -0.35])
"""How a level shows in tokens/s, TPOT and TTFT."""
WEIGHTS = np.array([1.0, 1.0, 0.35])
"""First tokens depend on how the load was sent, which no source tells in full."""
REACH = 5.0
"""How many standard deviations a constant may go."""


def line(name: str, errors: FloatArray) -> str:
    parts = [f"  {name:24} n {len(errors):4}"]
    for figure, column in zip(FIGURES, errors.T, strict=True):
        known = column[~np.isnan(column)]
        if len(known):
            half, most = np.quantile(np.abs(known), [0.5, 0.9])
            told = (np.median(known), half, most)
            parts.append(f"{figure} " + " · ".join(f"{np.exp(each):.2f}" for each in told))
    return "   ".join(parts)


def by_group(points: Sequence[Point], errors: FloatArray) -> None:
    print(line("all", errors))
    for group in GROUPS:
        for value in sorted({getattr(point, group) for point in points}):
            print(line(value, errors[[getattr(point, group) == value for point in points]]))


class Fit:
    """All points tabulated once; fits to any of them are then quick."""

    def __init__(
        self, points: Sequence[Point], start: Constants, tables: KernelTables | None = None
    ) -> None:
        self.points, self._start = points, start
        # Where kernels price the experts, their efficiency has no effect to be fitted by.
        self.fitted = {n: v for n, v in FITTED.items() if not (tables and n == EFFICIENCY)}
        self._tables = [PointTable(point, start, tables) for point in points]

    def without(self, held: Callable[[Point], bool]) -> Constants:
        """Robust least squares on the logarithms, a level for each source, priors for all.

        Each server weighs by the root of its points: neighbouring loads are nearly one measurement.
        """
        from scipy.optimize import least_squares

        chosen = [pair for pair in zip(self.points, self._tables, strict=True) if not held(pair[0])]
        servers = [(p.source, p.model, p.gpu, p.layout) for p, _ in chosen]
        counts = Counter(servers)
        weights = np.array([counts[each] ** -0.5 for each in servers])[:, None] * WEIGHTS
        sources = sorted({point.source for point, _ in chosen})
        level_of = np.array([sources.index(point.source) for point, _ in chosen])
        old = {p.source for p, _ in chosen if p.engine_version and _older(p.engine_version)}
        level_sd = np.array([LEVEL_SD if source in old else 0.0 for source in sources])

        def residuals(x: FloatArray) -> FloatArray:
            z, levels = x[: len(self.fitted)], x[len(self.fitted) :] * level_sd
            constants = self._constants(z)
            errors = np.array([log_error(p, table.estimate(constants)) for p, table in chosen])
            errors -= np.outer(levels[level_of], LEVELS)
            beside = np.nan_to_num(errors * weights).ravel() / ERROR_SD
            return np.concatenate([beside, x])

        start = np.zeros(len(self.fitted) + len(sources))
        upper = np.full(len(start), REACH)
        if EFFICIENCY in self.fitted:
            upper[list(self.fitted).index(EFFICIENCY)] = 3.0
        result = least_squares(residuals, start, bounds=(-upper, upper), loss="soft_l1")
        return self._constants(result.x[: len(self.fitted)])

    def _constants(self, z: FloatArray) -> Constants:
        found = {
            name: middle * float(np.exp(sd * at))
            for (name, (middle, sd)), at in zip(self.fitted.items(), z, strict=True)
        }
        return msgspec.structs.replace(self._start, **found)


def _older(version: str) -> bool:
    return release(version) < release(LEVEL_SINCE)


def refit(
    points: Sequence[Point], tables: KernelTables | None
) -> dict[str, dict[str, dict[str, float]]]:
    """Print what each fit reaches; return the fits by group and by what was left out."""
    fit = Fit(points, VLLM_2026, tables)
    fitted = functools.partial(rounded, names=fit.fitted)
    whole = fit.without(lambda _: False)
    print(line("fitted to all", log_errors(points, whole, tables)), fitted(whole), flush=True)
    fits: dict[str, dict[str, dict[str, float]]] = {"all": {"": fitted(whole)}}
    for group in GROUPS[:3]:
        left_out, fits[group] = [], {}
        for value in sorted({getattr(point, group) for point in points}):
            found = fit.without(lambda point, g=group, v=value: getattr(point, g) == v)
            fits[group][value] = fitted(found)
            held = [point for point in points if getattr(point, group) == value]
            left_out.append(log_errors(held, found, tables))
            print(line(f"without {value}", left_out[-1]), fitted(found), flush=True)
        print(line(f"each {group} left out", np.concatenate(left_out)))
    return fits


def rounded(constants: Constants, names: Iterable[str]) -> dict[str, float]:
    return {name: float(f"{getattr(constants, name):.3g}") for name in names}


def in_tables(points: Sequence[Point], tables: KernelTables) -> tuple[Point, ...]:
    """Those whose experts the tables have measured."""
    return tuple(point for point in points if point_kernels(point, tables).experts is not None)


def write_left_out(points: tuple[Point, ...]) -> None:
    """Errors by the kept fits, on what each has not seen."""
    errors = [
        (group, name, log_error(point, estimate(point, constants)))
        for group, name, point, constants in left_out_pairs(points)
    ]
    found = summaries(errors)
    for each in found:
        print(f"{each.group} {each.name}: n {each.points}, {each.half}, {each.nine_of_ten}")
    LEFT_OUT.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")


def main(words: Sequence[str]) -> None:
    words, points, tables = list(words), published_points(), None
    if "--left-out" in words:
        write_left_out(points)
        return
    if "--kernel-tables" in words:
        at = words.index("--kernel-tables")
        tables = kernel_tables(words[at + 1])
        del words[at : at + 2]
        points = in_tables(points, tables)
        print(f"{len(points)} points whose experts are in the tables of {tables.name}")
    names = [word for word in words if not word.startswith("--") and not word.endswith(".json")]
    for name in names or list(CALIBRATIONS):
        for used in dict.fromkeys((None, tables)):
            beside = ", measured kernels" if used else ""
            print(f"{name}{beside}: median · half within · nine in ten within")
            by_group(points, log_errors(points, calibration(name), used))
    if "--refit" in words:
        fits = refit(points, tables)
        for word in words:
            if word.endswith(".json"):
                Path(word).write_text(json.dumps(fits, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
