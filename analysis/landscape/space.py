"""What an exploration may measure: layouts that fit, at every load of a range."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from catalog.errors import Infeasible
from catalog.hardware import Gpu
from catalog.models import Model
from perfmodel.arrays import FloatArray
from perfmodel.serving import server
from strategies.layout import Layout


@dataclass(frozen=True, slots=True)
class Configuration:
    """One server under one load."""

    layout: Layout
    max_concurrency: int

    @property
    def coordinates(self) -> tuple[float, ...]:
        """Binary logarithms of the degrees and the load, and whether experts stay whole."""
        layout = self.layout
        degrees = (layout.tp, layout.dp, layout.pp, self.max_concurrency)
        return (*(float(np.log2(degree)) for degree in degrees), 2.0 * layout.ep)


def layouts_within(gpus: int, *, deepest: int = 4) -> tuple[Layout, ...]:
    """Every layout of powers of two on at most this many GPUs."""
    powers = [2**p for p in range(gpus.bit_length()) if 2**p <= gpus]
    return tuple(
        Layout(tp=tp, dp=dp, pp=pp, ep=ep)
        for tp in powers
        for dp in powers
        for pp in powers
        for ep in (False, True)
        if tp * dp * pp <= gpus and pp <= deepest and not (ep and tp * dp == 1)
    )


def feasible(
    model: Model, gpu: Gpu, layouts: Iterable[Layout], *, longest: int
) -> tuple[Layout, ...]:
    """The layouts that can carry the model; nothing is started to find out."""
    kept = []
    for layout in layouts:
        try:
            server(model, layout, gpu, longest=longest)
        except Infeasible:
            continue
        kept.append(layout)
    return tuple(kept)


def coordinates(space: Iterable[Configuration]) -> FloatArray:
    """Shape (configurations, coordinates)."""
    return np.array([each.coordinates for each in space])
