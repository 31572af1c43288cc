"""Do replicates tell the same story from the first block to the last, and each like the others?"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from scipy import special

from analysis.data.conditions import cells
from analysis.data.order import shown
from analysis.statistics.replication import CONDITION

FEWEST_BLOCKS, FEWEST_REPLICATES = 3, 5
ALPHA, SMALLEST_DRIFT = 0.01, 0.01
LARGEST_Z, SMALLEST_DISTANCE = 3.5, 0.05
"""Modified z of Iglewicz and Hoaglin (1993), and a distance below which nobody minds."""
SHOWN = 3


def replicate_notes(
    frame: pd.DataFrame, response: str, apart: Sequence[str] = ()
) -> tuple[str, ...]:
    """Say where results drift over the blocks, and which replicates lie far from their like.

    `apart` are columns beyond the usual that tell conditions apart.
    """
    known = frame[frame[response] > 0] if response in frame else frame.iloc[:0]
    if known.empty:
        return ()
    logs = known[response].astype(float).map(math.log)
    names = [
        column for column in dict.fromkeys(("strategy", *CONDITION, *apart)) if column in known
    ]
    key = pd.Series(cells(known, names), known.index)
    number = next((known[n].astype(float) for n in ("block", "replicate") if n in known), None)
    return (
        *(() if number is None else _drift(logs, key, number)),
        *_outliers(logs, key, known[names]),
    )


def _drift(logs: pd.Series, key: pd.Series, block: pd.Series) -> Iterator[str]:
    """Fit one slope over the blocks to all conditions, each with a level of its own."""
    blocks = block.groupby(key).transform("nunique")
    y, x, group = (series[blocks >= FEWEST_BLOCKS] for series in (logs, block, key))
    freedom = len(y) - group.nunique() - 1
    if freedom < 1:
        return
    y, x = y - y.groupby(group).transform("mean"), x - x.groupby(group).transform("mean")
    spread = float((x * x).sum())
    slope = float((x * y).sum()) / spread
    error = math.sqrt(float(((y - slope * x) ** 2).sum()) / freedom / spread)
    p = 2 * special.stdtr(freedom, -abs(slope) / error) if error > 0 else float(slope == 0)
    change = float(np.expm1(slope * np.ptp(block)))
    if p < ALPHA and abs(change) > SMALLEST_DRIFT:
        yield (
            f"results drift by {change:+.1%} from the first block to the last (p = {p:.1g}): "
            "clocks, temperature or neighbours changed; compare within blocks, as is done here"
        )


def _outliers(logs: pd.Series, key: pd.Series, condition: pd.DataFrame) -> Iterator[str]:
    """One line for all replicates that lie far from the others of their condition."""
    grouped = logs.groupby(key)
    distance = (logs - grouped.transform("median")).abs()
    scale = distance.groupby(key).transform("median") * 1.4826
    enough = grouped.transform("size") >= FEWEST_REPLICATES
    far = enough & (scale > 0) & (distance > LARGEST_Z * scale) & (distance > SMALLEST_DISTANCE)
    if far.any():
        each = condition[far].drop_duplicates().itertuples(index=False)
        names = [" ".join(shown(level) for level in row if not _absent(level)) for row in each]
        listed = "; ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")
        yield (
            f"{int(far.sum())} of {len(logs)} replicates lie far from the others of their "
            f"condition ({listed}): they are kept; look at their notes and gpu.parquet for a cause"
        )


def _absent(level: object) -> bool:
    return level in ("", None) or level != level
