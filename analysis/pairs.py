"""Paired log-ratios of two strategies within a stratum: what contrasts are computed from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.grid import CONDITION, keyed
from analysis.order import rank, shown

LOAD = ("max_concurrency", "request_rate")
# Log-ratios this close together are one number up to rounding.
NO_SPREAD = 1e-12

Key = tuple[tuple[str, object], ...]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Log-ratios and what one of them is: a block or a condition."""

    logs: np.ndarray
    unit: str

    @property
    def copies(self) -> bool:
        """Several pairs that are one number up to rounding, as a simulation repeats itself."""
        return len(self.logs) > 1 and float(np.ptp(self.logs)) < NO_SPREAD


@dataclass(frozen=True, slots=True)
class Stratum:
    """The runs that agree in every column a comparison is made within."""

    key: Key
    logs: dict[str, np.ndarray]
    """Log response of each strategy: conditions × blocks, NaN where there is no run."""

    @property
    def name(self) -> str:
        return ", ".join(f"{c} {shown(v)}" for c, v in self.key if v is not None) or "all runs"

    def pairs(self, strategy: str, reference: str) -> Pairs:
        """Pair two strategies: by block where there are several, else by condition.

        A block's pair is its mean log-ratio over the conditions both have in every block, so a
        launch that shifts all its conditions counts once.
        """
        ratios = self.logs[strategy] - self.logs[reference]
        ratios = ratios[np.isfinite(ratios).any(axis=1)]
        complete = ratios[:, np.isfinite(ratios).all(axis=0)]
        if complete.shape[1] > 1 or len(ratios) < 2:
            by_block = complete.mean(axis=0) if len(ratios) else np.empty(0)
            return Pairs(by_block, "block")
        return Pairs(mean_of_known(ratios, 1), "condition")


def mean_of_known(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean over the finite values; NaN where there are none."""
    count = np.isfinite(values).sum(axis=axis)
    total = np.nansum(values, axis=axis)
    means: np.ndarray = np.full(total.shape, np.nan)
    np.divide(total, count, out=means, where=count > 0)
    return means


def strata(frame: pd.DataFrame, response: str, by: Sequence[str]) -> Iterator[Stratum]:
    """Split a frame by columns, in the order of their levels."""
    index = list(dict.fromkeys([*by, *(["model"] if "model" in frame else []), "_condition"]))
    used = dict.fromkeys([*index[:-1], *CONDITION, "strategy", "block", "replicate", response])
    rows = keyed(frame[[name for name in used if name in frame]])
    cells = rows.groupby([*index, "strategy", "_replicate"], dropna=False)[response].mean()
    wide = np.log(cells).unstack(["strategy", "_replicate"])
    keys = [tuple(_value(v) for v in _as_tuple(label)[: len(by)]) for label in wide.index]
    places: dict[tuple[object, ...], list[int]] = {}
    for position, key in enumerate(keys):
        places.setdefault(key, []).append(position)
    strategies = wide.columns.get_level_values("strategy")
    blocks = {str(name): wide.loc[:, strategies == name] for name in strategies.unique()}
    width = sorted(set(wide.columns.get_level_values("_replicate")))
    arrays = {
        name: block.droplevel("strategy", axis="columns").reindex(columns=width).to_numpy()
        for name, block in blocks.items()
    }
    for key in sorted(places, key=lambda key: [rank(value) for value in key]):
        here = {name: array[places[key]] for name, array in arrays.items()}
        yield Stratum(
            tuple(zip(by, key, strict=True)),
            {name: logs for name, logs in here.items() if np.isfinite(logs).any()},
        )


def _as_tuple(label: object) -> tuple[object, ...]:
    return label if isinstance(label, tuple) else (label,)


def _value(level: object) -> object:
    """A level as it is printed: None for a missing one, whole numbers without a fraction."""
    if isinstance(level, float):
        return None if np.isnan(level) else int(level) if level.is_integer() else level
    return level
