"""Request tables of many runs, read in batches: millions of rows in little memory."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from catalog.errors import BadFile, ResultsError, UnknownName
from orchestrator.table import request_files

TIMES = ("due_s", "sent_s", "first_token_s", "done_s")
# Log-spaced edges from 0.1 ms to 1000 s, 2.9 % apart: a percentile read off them is that exact.
EDGES_S = np.logspace(-4, 3, 561)
BATCH_ROWS = 131_072


def request_dataset(paths: Iterable[Path]) -> "ds.Dataset | None":
    """Open the request rows of results directories; None when there are none."""
    files = [str(file) for path in paths if path.is_dir() for file in request_files(path)]
    return ds.dataset(files, format="parquet") if files else None


def requests_of(
    path: Path, run_id: str, more: Sequence[str] = ("status", "error_class")
) -> pd.DataFrame:
    """Every request of one run: its number, its times, and further columns; no token times."""
    if not path.is_dir():
        raise BadFile(path, "not a results directory: single requests are only kept in one")
    data = request_dataset([path])
    if data is None:
        raise BadFile(path, "holds no request rows")
    columns = ["run_id", "request", *TIMES, *more]
    missing = [name for name in more if name not in data.schema.names]
    if missing:
        raise BadFile(path, f"request rows without {missing[0]}: of an earlier version")
    found = data.to_table(columns=columns, filter=pc.field("run_id") == run_id)
    if not len(found):
        known = sorted(set(data.to_table(columns=["run_id"])["run_id"].to_pylist()))
        raise UnknownName("run", run_id, known)
    frame: pd.DataFrame = found.to_pandas()
    return frame.assign(source_file=str(path))


@dataclass(slots=True)
class LatencyCounts:
    """Histograms over EDGES_S by run, and what became of the requests; grows batch by batch."""

    runs: dict[str, int]
    """Row of each run in the histograms."""
    ttft: np.ndarray = field(init=False)
    e2el: np.ndarray = field(init=False)
    requests: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    """Failed requests by class of error."""

    def __post_init__(self) -> None:
        shape = (len(self.runs), len(EDGES_S) + 1)
        self.ttft, self.e2el = np.zeros(shape, np.int64), np.zeros(shape, np.int64)

    def add(self, batch: pa.RecordBatch) -> None:
        """Count one batch; latencies run from the moment a request was due."""
        run = pc.index_in(batch["run_id"], pa.array(list(self.runs))).to_numpy(zero_copy_only=False)
        due, _, first, done = (
            batch[name].to_numpy(zero_copy_only=False).astype(float) for name in TIMES
        )
        ok = pc.equal(batch["status"], "ok").to_numpy(zero_copy_only=False)
        ok &= np.isfinite(run.astype(float))
        self.requests += batch.num_rows
        _count(self.ttft, run, first - due, ok)
        _count(self.e2el, run, done - due, ok)
        lost = batch.filter(pc.not_equal(batch["status"], "ok"))
        for entry in pc.value_counts(lost["error_class"]).to_pylist():
            name = entry["values"] or "unknown"
            self.failed[name] = self.failed.get(name, 0) + int(entry["counts"])


def _count(table: np.ndarray, run: np.ndarray, seconds: np.ndarray, ok: np.ndarray) -> None:
    use = ok & np.isfinite(seconds)
    rows = run[use].astype(np.int64)
    bins = np.searchsorted(EDGES_S, seconds[use])
    width = table.shape[1]
    table += np.bincount(rows * width + bins, minlength=table.size).reshape(table.shape)


def count_latencies(paths: Sequence[Path], runs: Sequence[str]) -> LatencyCounts | None:
    """Stream the requests of these runs once; None when no requests are kept."""
    data = request_dataset(paths)
    if data is None:
        return None
    counts = LatencyCounts({run: i for i, run in enumerate(runs)})
    for batch in _batches(data):
        counts.add(batch)
    return counts


def _batches(data: "ds.Dataset") -> Iterator[pa.RecordBatch]:
    columns = ["run_id", *TIMES, "status", "error_class"]
    try:
        yield from data.to_batches(columns=columns, batch_size=BATCH_ROWS)
    except (pa.ArrowInvalid, OSError) as error:
        raise ResultsError(f"request rows cannot be read: {error}") from error


def quantiles_s(histogram: np.ndarray, shares: Sequence[float]) -> list[float | None]:
    """Percentiles read off a histogram, to within one bin (2.9 %)."""
    total = int(histogram.sum())
    if total == 0:
        return [None] * len(shares)
    cumulative = np.cumsum(histogram)
    at = np.searchsorted(cumulative, np.ceil(np.array(shares) * total))
    return [float(EDGES_S[min(int(i), len(EDGES_S) - 1)]) for i in at]
