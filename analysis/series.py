"""The numbers behind the figures: means with intervals per condition, fronts, and winners."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from analysis.compare import higher_is_better
from analysis.frame import require
from analysis.load import with_load
from analysis.order import ordered
from analysis.pairs import NO_SPREAD, strata
from analysis.place import source_of
from catalog.errors import BadFile

CELL = ("model", "workload", "strategy", "load")


def curves(
    frame: pd.DataFrame, response: str, *, by: Sequence[str] = CELL, level: float = 0.95
) -> pd.DataFrame:
    """Mean, t-interval and n of a response in each cell; no interval for a single run.

    Columns: those of `by`, then mean, low, high, n.
    """
    frame = with_load(frame) if "load" in by else frame
    require(frame, [*by, response])
    rows = frame[frame[response].notna()]
    cells = rows.groupby(list(by), dropna=False, sort=False)[response]
    made = cells.agg(mean="mean", spread="std", n="count").reset_index()
    if made.empty:
        raise BadFile(source_of(frame), f"column {response!r}: no value to draw")
    count = made["n"].to_numpy(dtype=float)
    error = made.pop("spread").to_numpy(dtype=float) / np.sqrt(count)
    half = stats.t.ppf((1 + level) / 2, np.maximum(count - 1, 1)) * error
    made["low"], made["high"] = made["mean"] - half, made["mean"] + half
    columns = [*by, "mean", "low", "high", "n"]
    return made[columns].sort_values(list(by), ignore_index=True)


def scaling(frame: pd.DataFrame, *, response: str = "output_throughput") -> pd.DataFrame:
    """Throughput at c over c times the throughput of one request at the lowest load.

    efficiency(c) = T(c)·c₀ / (T(c₀)·c), c₀ the lowest load of the cell; 1 is linear scaling.
    """
    table = curves(frame, response)
    keys = ["model", "workload", "strategy"]
    first = table.groupby(keys)[["load", "mean"]].transform("first")
    scale = first["load"] / (first["mean"] * table["load"])
    return table.assign(**{name: table[name] * scale for name in ("mean", "low", "high")})


def per_user(frame: pd.DataFrame) -> pd.DataFrame:
    """Each cell as tokens/s/GPU against tokens/s/user, and whether no other cell beats both.

    Tokens/s/user is 1000/TPOT in ms: what one request sees after its first token.
    """
    speed = "mean_tpot_ms" if "mean_tpot_ms" in frame else "mean_itl_ms"
    efficiency = curves(frame, "output_throughput_per_gpu")
    pace = curves(frame, speed)[[*CELL, "mean"]].rename(columns={"mean": "tpot_ms"})
    table = efficiency.merge(pace, on=list(CELL))
    table["per_user"] = 1e3 / table["tpot_ms"]
    groups = table.groupby(["model", "workload"], sort=False)
    front = groups[["per_user", "mean"]].apply(lambda g: pd.Series(_front(g.to_numpy()), g.index))
    table["front"] = front.droplevel([0, 1]).reindex(table.index)
    return table


def _front(points: np.ndarray) -> np.ndarray:
    """Rows that no other row beats or equals in all columns and beats in one."""
    beats = (points[:, None] >= points[None]).all(axis=2) & (points[:, None] > points[None]).any(
        axis=2
    )
    kept: np.ndarray = np.logical_not(np.any(beats, axis=0))
    return kept


def winners(frame: pd.DataFrame, response: str = "output_throughput") -> pd.DataFrame:
    """Best strategy of each model × workload × load, its lead, and whether the runs settle it.

    Columns: model, workload, load_kind, load, strategy, runner_up, lead (ratio to the runner-up,
    above 1), settled (the lead's 95 % interval excludes 1; None where replicates show no spread).
    """
    frame = with_load(frame)
    require(frame, [*CELL, response])
    up = higher_is_better(response)
    rows = []
    for group in strata(frame, response, ("model", "workload", "load_kind", "load")):
        means = {name: float(np.nanmean(logs)) for name, logs in group.logs.items()}
        names = sorted(
            ordered(means), key=lambda name: -means[str(name)] if up else means[str(name)]
        )
        best, second = str(names[0]), str(names[1]) if len(names) > 1 else None
        rows.append({**dict(group.key), "strategy": best, "runner_up": second})
        logs = group.pairs(best, second).logs if second else np.empty(0)
        logs = logs if up else -logs
        rows[-1]["lead"] = float(np.exp(logs.mean())) if len(logs) else None
        rows[-1]["settled"] = _settled(logs)
    return pd.DataFrame(rows)


def _settled(logs: np.ndarray) -> bool | None:
    if len(logs) < 2 or np.ptp(logs) < NO_SPREAD:
        return None
    half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    return bool(logs.mean() > half)


def residuals(frame: pd.DataFrame, response: str = "output_throughput") -> pd.DataFrame:
    """Measured over simulated, or over the analytic estimate where nothing was simulated.

    Columns: model, workload, strategy, load, measured, estimated, ratio.
    """
    frame = with_load(frame)
    require(frame, [*CELL, response, "provenance"])
    kinds = frame["provenance"].astype(str)
    measured, estimated = (
        curves(frame[mask], response)[[*CELL, "mean"]] if mask.any() else None
        for mask in (kinds.isin(["measured", "imported"]), kinds == "simulated")
    )
    if measured is None:
        raise BadFile(source_of(frame), "column 'provenance': no measured runs to compare with")
    if estimated is None:
        estimated = _estimated(frame, response)
    both = measured.merge(estimated, on=list(CELL), suffixes=("_m", "_e"))
    both = both.rename(columns={"mean_m": "measured", "mean_e": "estimated"})
    if both.empty:
        raise BadFile(source_of(frame), "no condition is both measured and simulated")
    return both.assign(ratio=both["measured"] / both["estimated"])


def _estimated(frame: pd.DataFrame, response: str) -> pd.DataFrame:
    """Estimate what nobody simulated."""
    from analysis.estimated import estimates_of

    found = estimates_of(frame)
    if response not in found:
        raise BadFile(source_of(frame), "no measured run has a model and a GPU with an estimate")
    return curves(with_load(found), response)[[*CELL, "mean"]]


def narrowed(
    frame: pd.DataFrame, *, models: Sequence[str] = (), workloads: Sequence[str] = ()
) -> pd.DataFrame:
    """Keep the models and workloads named; all when none is."""
    from catalog.errors import UnknownName

    for column, wanted in (("model", models), ("workload", workloads)):
        known = [str(name) for name in ordered(frame[column])] if column in frame else []
        for name in wanted:
            if name not in known:
                raise UnknownName(column, name, known)
        if wanted:
            frame = frame[frame[column].isin(list(wanted))]
    return frame
