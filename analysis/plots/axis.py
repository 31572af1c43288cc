"""Axes whose ticks are plain numbers."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    Locator,
    LogLocator,
    MaxNLocator,
    NullLocator,
)

from analysis.data.load import IN_FLIGHT_AXIS

CLOSEST_OCTAVES = 0.6
"""Ticks nearer than this would be written over each other."""
ONE_DECADE, MANY_DECADES = 8.0, 300.0


def plain_number(value: float, _: object = None) -> str:
    """`60`, `2,000`, `0.05`: never a power of ten."""
    return f"{value:,.10g}"


def load_axis(axes: Axes, values: np.ndarray, text: str) -> None:
    """Doubling loads at equal distances; what was in flight has round ticks, a load its levels."""
    axes.set_xscale("log", base=2)
    levels = _doublings(values) if text == IN_FLIGHT_AXIS else sorted({float(v) for v in values})
    _plain(axes.xaxis, FixedLocator(_apart(levels)))


def log_y(axes: Axes) -> None:
    """Turn the axis logarithmic, with 1, 2, 5, 10 … or, within a decade, even steps."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    span = high / low
    if span < ONE_DECADE:
        locator: Locator = MaxNLocator(5, min_n_ticks=3)
    else:
        locator = LogLocator(base=10, subs=(1.0,) if span > MANY_DECADES else (1.0, 2.0, 5.0))
    _plain(axes.yaxis, locator)


def _plain(axis: Axis, locator: Locator) -> None:
    axis.set_major_locator(locator)
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(plain_number))


def _doublings(values: np.ndarray) -> list[float]:
    low, high = math.log2(float(values.min())), math.log2(float(values.max()))
    found = [2.0**power for power in range(math.ceil(low - 0.05), math.floor(high + 0.05) + 1)]
    return found or [float(values.min())]


def _apart(levels: list[float]) -> list[float]:
    kept = levels[:1]
    for level in levels[1:]:
        if math.log2(level / kept[-1]) >= CLOSEST_OCTAVES:
            kept.append(level)
    return kept
