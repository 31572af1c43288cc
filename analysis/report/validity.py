"""What was refused and why."""

from collections import Counter
from dataclasses import dataclass

import pandas as pd

from analysis.data.requests import LatencyCounts

MOST_LISTED = 200


@dataclass(frozen=True, slots=True)
class Validity:
    """Verdicts counted, the runs that are not valid, and what became of the requests."""

    counts: list[tuple[str, str, int]]
    """Verdict, reasons, runs."""
    refused: list[tuple[str, ...]]
    """Run, model, strategy, workload, load, reasons."""
    more: int
    requests: int | None
    failed: list[tuple[str, int]]

    @property
    def summary(self) -> str:
        """How many runs of each verdict there are."""
        verdicts: Counter[str] = Counter()
        for verdict, _, runs in self.counts:
            verdicts[verdict] += runs
        return ", ".join(f"{runs:,} {verdict}" for verdict, runs in verdicts.most_common())


def validity_of(frame: pd.DataFrame, counts: LatencyCounts | None) -> Validity:
    """Count verdicts with their reasons and list what is not valid."""
    verdicts = _text(frame, "verdict").replace("", "not judged")
    reasons = _text(frame, "verdict_reasons")
    found = Counter(zip(verdicts, reasons, strict=True)).most_common()
    bad = frame[~verdicts.isin(["valid", "not judged"]).to_numpy()]
    columns = ("run_id", "model", "strategy", "workload", "max_concurrency", "verdict_reasons")
    listed = bad.head(MOST_LISTED)
    cells = [_text(listed, name).to_list() for name in columns]
    return Validity(
        counts=[(verdict, why, n) for (verdict, why), n in found],
        refused=list(zip(*cells, strict=True)),
        more=len(bad) - len(listed),
        requests=counts.requests if counts else None,
        failed=sorted(counts.failed.items(), key=lambda item: -item[1]) if counts else [],
    )


def _text(frame: pd.DataFrame, column: str) -> pd.Series:
    if column not in frame:
        return pd.Series([""] * len(frame), dtype=str)
    values = frame[column]
    if pd.api.types.is_numeric_dtype(values):
        return values.map(lambda value: "" if pd.isna(value) else f"{value:g}").astype(str)
    return values.astype(str)
