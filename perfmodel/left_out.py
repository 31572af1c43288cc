"""How far the default calibration is from measurements that its fit has not seen.

`data/left_out_errors.json`, written by `python benchmarks/perfmodel/published_errors.py --left-out`
from the fits of `data/left_out_fits.json`: each source, model and GPU by constants fitted without
it, and each kind together.
"""

from collections.abc import Iterator
from importlib.resources import files

import msgspec
import numpy as np

from perfmodel.arrays import FloatArray
from perfmodel.constants import VLLM_2026, Constants
from perfmodel.published import FIGURES, Point

GROUPS = ("source", "model", "gpu")
EACH = "each"
Fits = dict[str, dict[str, dict[str, float]]]


class LeftOut(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Factors that half of the points are within, and nine of ten, by figure."""

    group: str
    name: str
    points: int
    half: dict[str, float]
    nine_of_ten: dict[str, float]


def left_out_errors() -> list[LeftOut]:
    text = files("perfmodel").joinpath("data", "left_out_errors.json").read_text()
    return msgspec.json.decode(text, type=list[LeftOut])


def left_out_fits() -> Fits:
    text = files("perfmodel").joinpath("data", "left_out_fits.json").read_text()
    return msgspec.json.decode(text, type=Fits)


def left_out_pairs(points: tuple[Point, ...]) -> Iterator[tuple[str, str, Point, Constants]]:
    """Yield a kind of group, a group, each of its points, and the constants without it."""
    fits = left_out_fits()
    for group in GROUPS:
        for name, fitted in fits[group].items():
            constants = msgspec.structs.replace(VLLM_2026, **fitted)
            for point in points:
                if getattr(point, group) == name:
                    yield group, name, point, constants


def summary(group: str, name: str, errors: FloatArray) -> LeftOut:
    """Of logarithms of estimated over measured, shape (points, 3), nan where unmeasured."""
    half, most = {}, {}
    for figure, column in zip(FIGURES, np.abs(errors).T, strict=True):
        if len(known := column[~np.isnan(column)]):
            half[figure] = round(float(np.exp(np.quantile(known, 0.5))), 3)
            most[figure] = round(float(np.exp(np.quantile(known, 0.9))), 3)
    return LeftOut(group=group, name=name, points=len(errors), half=half, nine_of_ten=most)


def summaries(errors: list[tuple[str, str, list[float]]]) -> list[LeftOut]:
    """One summary a group, and one of each kind of group together."""
    found = []
    for group in GROUPS:
        of_kind = [(name, error) for kind, name, error in errors if kind == group]
        found.append(summary(group, EACH, np.array([error for _, error in of_kind])))
        for name in dict.fromkeys(name for name, _ in of_kind):
            own = np.array([error for each, error in of_kind if each == name])
            found.append(summary(group, name, own))
    return found
