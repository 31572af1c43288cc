"""The numbers behind the figures: means with intervals per condition, and fronts."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from analysis.data.conditions import (
    NOTHING_SAID,
    Pooling,
    kept_apart,
    labelled,
    said_apart,
)
from analysis.data.frame import require
from analysis.data.load import (
    AXIS,
    CLOSED,
    IN_FLIGHT,
    IN_FLIGHT_AXIS,
    in_flight,
    one_kind,
    with_load,
)
from analysis.data.order import ordered
from analysis.data.source_location import source_of
from catalog.errors import BadFile, UnknownName
from orchestrator.results.record import IMPORTED, MEASURED, SIMULATED

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
    # What is above zero stays there: the delta method on the log scale, as in the tables.
    positive = cells.min().to_numpy(dtype=float) > 0
    mean = made["mean"].to_numpy(dtype=float)
    factor = np.exp(np.divide(half, mean, out=np.zeros_like(half), where=positive))
    made.loc[positive, "low"] = (mean / factor)[positive]
    made.loc[positive, "high"] = (mean * factor)[positive]
    columns = [*by, "mean", "low", "high", "n"]
    return made[columns].sort_values(list(by), ignore_index=True)


def against_load(table: pd.DataFrame, frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Add `x` to cells of a frame's runs, and return the label of that axis.

    Closed loops stand at the mean number of requests that were in flight where every cell's runs
    say it: with few prompts that is less than the concurrency asked for, their load otherwise.
    """
    kind = one_kind(frame)
    known = in_flight(with_load(frame), CELL)
    placed = table.merge(known, on=list(CELL), how="left")
    if kind == CLOSED and len(placed) and bool((placed[IN_FLIGHT] > 0).all()):
        return placed.assign(x=placed[IN_FLIGHT]), IN_FLIGHT_AXIS
    return placed.assign(x=placed["load"]), AXIS[kind]


def scaling(frame: pd.DataFrame, *, response: str = "output_throughput") -> pd.DataFrame:
    """Throughput at c over c times the throughput of one request at the lowest load.

    efficiency(c) = T(c)·c₀ / (T(c₀)·c), c₀ the lowest load of the cell; 1 is linear scaling. c is
    what was in flight where the runs say it, so that a lack of prompts is no lack of scaling.
    """
    table, _ = against_load(curves(frame, response), frame)
    keys = ["model", "workload", "strategy"]
    first = table.groupby(keys)[["x", "mean"]].transform("first")
    scale = first["x"] / (first["mean"] * table["x"])
    made = table.assign(**{name: table[name] * scale for name in ("mean", "low", "high")})
    return made[[*CELL, "mean", "low", "high", "n"]]


def per_user(frame: pd.DataFrame) -> pd.DataFrame:
    """Each cell as tokens/s/GPU against tokens/s/user, and whether no other cell beats both.

    Tokens/s/user is 1000/TPOT in ms: what one request sees after its first token.
    """
    speed = "mean_tpot_ms" if "mean_tpot_ms" in frame else "mean_itl_ms"
    efficiency = curves(frame, "output_throughput_per_gpu")
    pace = curves(frame, speed)[[*CELL, "mean"]].rename(columns={"mean": "tpot_ms"})
    table = efficiency.merge(pace, on=list(CELL))
    table["per_user"] = 1e3 / table["tpot_ms"]
    table["front"] = False
    for _, group in table.groupby(["model", "workload"], sort=False):
        table.loc[group.index, "front"] = _front(group[["per_user", "mean"]].to_numpy())
    return table


def _front(points: np.ndarray) -> np.ndarray:
    """Rows that no other row beats or equals in all columns and beats in one."""
    beats = (points[:, None] >= points[None]).all(axis=2) & (points[:, None] > points[None]).any(
        axis=2
    )
    kept: np.ndarray = np.logical_not(np.any(beats, axis=0))
    return kept


def residuals(frame: pd.DataFrame, response: str = "output_throughput") -> pd.DataFrame:
    """Measured over simulated, or over the analytic estimate where nothing was simulated.

    Columns: model, workload, strategy, load, measured, estimated, ratio; and those by which
    measured rows had to be kept apart, where the estimates have them.
    """
    frame = with_load(frame)
    require(frame, [*CELL, response, "provenance"])
    kinds = frame["provenance"].astype(str)
    of_runs, of_model = kinds.isin([MEASURED, IMPORTED]), kinds == SIMULATED
    if not of_runs.any():
        raise BadFile(source_of(frame), "column 'provenance': no measured runs to compare with")
    apart = kept_apart(frame[of_runs].drop(columns=response))
    model = frame[of_model] if of_model.any() else _estimated(frame, response)
    shared = [name for name in (*CELL, *apart) if name in CELL or _tells(model, name)]
    measured = curves(frame[of_runs], response, by=(*CELL, *apart))[[*CELL, *apart, "mean"]]
    estimated = curves(model, response, by=shared)[[*shared, "mean"]]
    both = measured.merge(estimated, on=shared, suffixes=("_m", "_e"))
    both = both.rename(columns={"mean_m": "measured", "mean_e": "estimated"})
    if both.empty:
        raise BadFile(source_of(frame), "no condition is both measured and simulated")
    return both.assign(ratio=both["measured"] / both["estimated"])


def _estimated(frame: pd.DataFrame, response: str) -> pd.DataFrame:
    """Estimate what nobody simulated."""
    from analysis.data.estimated import estimates_of

    found = estimates_of(frame)
    if response not in found:
        raise BadFile(source_of(frame), "no measured run has a model and a GPU with an estimate")
    return with_load(found)


def _tells(frame: pd.DataFrame, name: str) -> bool:
    """Whether estimates say what they are for in a column."""
    return name in frame and not bool((frame[name].isna() | (frame[name].astype(str) == "")).any())


def apart_in_models(
    frame: pd.DataFrame, response: str, pooling: Pooling = NOTHING_SAID
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Give rows that must not be averaged models of their own, `A · H100`, and say so."""
    names = kept_apart(frame.drop(columns=response), pooling)
    notes = said_apart(frame, names, "drawn and counted apart, behind the model's name")
    return labelled(frame, "model", names), notes


def narrowed(
    frame: pd.DataFrame, *, models: Sequence[str] = (), workloads: Sequence[str] = ()
) -> pd.DataFrame:
    """Keep the models and workloads named; all when none is."""
    for column, wanted in (("model", models), ("workload", workloads)):
        known = [str(name) for name in ordered(frame[column])] if column in frame else []
        for name in wanted:
            if name not in known:
                raise UnknownName(column, name, known)
        if wanted:
            frame = frame[frame[column].isin(list(wanted))]
    return frame
