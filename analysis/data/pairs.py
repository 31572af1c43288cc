"""Paired log-ratios of two strategies within a stratum: what contrasts are computed from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from analysis.data.grid import CONDITION, keyed
from analysis.data.launches import (
    UNKNOWN,
    launch_codes,
    mean_of_known,
    merged,
    shared,
    stacked,
)
from analysis.data.order import rank, shown

LOAD = ("max_concurrency", "request_rate")
# Log-ratios this close together are one number up to rounding.
NO_SPREAD = 1e-12

StratumKey = tuple[tuple[str, object], ...]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Log-ratios and what one of them is: a block, a condition, or what shares a launch."""

    logs: np.ndarray
    unit: str
    runs: int = 0
    """Pairs of runs behind them; more than there are log-ratios where launches are shared."""
    one_launch: bool = False
    """All of them are conditions of one launch: they say nothing of another one."""

    @property
    def testable(self) -> bool:
        """Neither copies of one number nor all of one launch."""
        return not (self.copies or self.one_launch)

    @property
    def copies(self) -> bool:
        """Several pairs that are one number up to rounding, as a simulation repeats itself."""
        return len(self.logs) > 1 and float(np.ptp(self.logs)) < NO_SPREAD


@dataclass(frozen=True, slots=True)
class Stratum:
    """The runs that agree in every column a comparison is made within."""

    key: StratumKey
    logs: dict[str, np.ndarray]
    """Log response of each strategy: conditions × blocks, NaN where there is no run."""
    launches: dict[str, np.ndarray] = field(default_factory=dict)
    """Launch of each of these runs."""

    @property
    def name(self) -> str:
        return ", ".join(f"{c} {shown(v)}" for c, v in self.key if v is not None) or "all runs"

    def pairs(self, strategy: str, reference: str) -> Pairs:
        """Pair two strategies: by block where there are several, else by condition.

        A block's pair is its mean log-ratio over the conditions both have in every block, and
        blocks that share a launch of either strategy are one: so a launch counts once.
        """
        ratios = self.logs[strategy] - self.logs[reference]
        some = np.isfinite(ratios).any(axis=1)
        ratios = ratios[some]
        runs = int(np.isfinite(ratios).any(axis=0).sum())
        used = [self._launches(name)[some] for name in (strategy, reference)]
        codes = stacked(used, np.isfinite(ratios))
        by_launch = merged(ratios, shared(codes))
        complete = by_launch[:, np.isfinite(by_launch).all(axis=0)]
        if complete.shape[1] > 1 or len(ratios) < 2:
            observed = complete.mean(axis=0) if len(ratios) else np.empty(0)
            joined = by_launch.shape[1] < ratios.shape[1]
            return Pairs(observed, "launch" if joined else "block", runs)
        linked = shared(np.vstack([arm.T for arm in np.vsplit(codes, 2)]))
        alone = bool((codes != UNKNOWN).any() and linked.max() == 0)
        return Pairs(mean_of_known(ratios, 1), "condition", len(ratios), alone)

    def ratios(self, strategy: str, reference: str) -> np.ndarray:
        """Of a strategy to the reference, one for each condition that has a pair of them."""
        logs = self.logs[strategy] - self.logs[reference]
        found: np.ndarray = np.exp(np.nanmean(logs[np.isfinite(logs).any(axis=1)], axis=1))
        return found

    def blocks_joined(self, whole: np.ndarray) -> np.ndarray:
        """Label the blocks: those that share a launch of any strategy have one label."""
        codes = np.vstack([self._launches(name) for name in self.logs])
        return shared(codes[:, whole])

    def _launches(self, strategy: str) -> np.ndarray:
        return self.launches.get(strategy, np.full(self.logs[strategy].shape, UNKNOWN))


def strata(
    frame: pd.DataFrame, response: str, by: Sequence[str], *, pool: Sequence[str] = ()
) -> Iterator[Stratum]:
    """Split a frame by columns, in the order of their levels; `pool` is overlooked in pairing."""
    index = list(dict.fromkeys([*by, *(["model"] if "model" in frame else []), "_condition"]))
    numbers = ("strategy", "block", "replicate", "source_file")
    used = dict.fromkeys([*index[:-1], *CONDITION, *numbers, *pool, response])
    rows = keyed(frame[[name for name in used if name in frame]], apart=by, pool=pool)
    rows = rows.assign(_launch=launch_codes(frame))
    cells = rows.groupby([*index, "strategy", "_replicate"], dropna=False)
    means = cells[response].mean()
    # What is not above zero has no ratio to anything.
    wide = np.log(means.where(means > 0)).unstack(["strategy", "_replicate"])
    launch = cells["_launch"].first().unstack(["strategy", "_replicate"], fill_value=UNKNOWN)
    keys = [tuple(plain_level(v) for v in _as_tuple(label)[: len(by)]) for label in wide.index]
    places: dict[tuple[object, ...], list[int]] = {}
    for position, key in enumerate(keys):
        places.setdefault(key, []).append(position)
    strategies = wide.columns.get_level_values("strategy")
    names = [str(name) for name in strategies.unique()]
    arrays, codes = (_by_strategy(table, names) for table in (wide, launch))
    for key in sorted(places, key=lambda key: [rank(value) for value in key]):
        here = {name: array[places[key]] for name, array in arrays.items()}
        yield Stratum(
            tuple(zip(by, key, strict=True)),
            {name: logs for name, logs in here.items() if np.isfinite(logs).any()},
            {name: each[places[key]] for name, each in codes.items()},
        )


def _by_strategy(table: pd.DataFrame, names: Sequence[str]) -> dict[str, np.ndarray]:
    """A table of each strategy, all with the same columns: the replicates."""
    of = table.columns.get_level_values("strategy").astype(str)
    width = sorted(set(table.columns.get_level_values("_replicate")))
    return {
        name: table.loc[:, of == name]
        .droplevel("strategy", axis="columns")
        .reindex(columns=width)
        .to_numpy()
        for name in names
    }


def _as_tuple(label: object) -> tuple[object, ...]:
    return label if isinstance(label, tuple) else (label,)


def plain_level(level: object) -> object:
    """A level as it is printed: None for a missing one, whole numbers without a fraction."""
    if isinstance(level, float):
        return None if np.isnan(level) else int(level) if level.is_integer() else level
    return level
