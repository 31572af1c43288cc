"""Request tables of many runs, read in batches: millions of rows in little memory."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from catalog.errors import BadFile, ResultsError, UnknownName
from orchestrator.results.manifests import read_manifest, read_manifests
from orchestrator.results.rows import SCHEMA, RowsSource, read_columns, read_parquet
from orchestrator.table import request_files

TIMES = ("due_s", "sent_s", "first_token_s", "done_s")
# Log-spaced edges from 0.1 ms to 1000 s, 2.9 % apart: a percentile read off them is that exact.
EDGES_S = np.logspace(-4, 3, 561)
BATCH_ROWS = 131_072


def requests_of(
    path: Path, run_id: str, more: Sequence[str] = ("status", "error_class")
) -> pd.DataFrame:
    """Every request of one run: its number, its times, and further columns; no token times."""
    if not path.is_dir():
        raise BadFile(path, "not a results directory: single requests are only kept in one")
    found = _rows_of_run(path, run_id)
    missing = [name for name in more if name not in found.column_names]
    if missing:
        raise BadFile(path, f"request rows without {missing[0]}: of an earlier version")
    found = found.select(["run_id", "request", *TIMES, *more])
    frame: pd.DataFrame = found.to_pandas()
    return frame.assign(source_file=str(path))


def _rows_of_run(path: Path, run_id: str) -> pa.Table:
    """Read the one file of a run; of all the others nothing but their names, where it is not."""
    try:
        named = [read_manifest(path, path / "runs" / f"{run_id}.json")]
    except (FileNotFoundError, BadFile):
        named = [m for m in read_manifests(path) if m.record.run_id == run_id]
    files = list(request_files(path, named))
    if not files:
        known = [manifest.record.run_id for manifest in read_manifests(path) if manifest.files]
        if not known:
            raise BadFile(path, "holds no request rows")
        raise UnknownName("run", run_id, sorted(known))
    columns = [name for name in SCHEMA.names if name != "token_times_s"]
    try:
        table = read_parquet(files, columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise ResultsError(f"request rows of {run_id} cannot be read: {error}") from error
    return table.filter(pc.field("run_id") == run_id)


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
    _ids: pa.Array = field(init=False)

    def __post_init__(self) -> None:
        shape = (len(self.runs), len(EDGES_S) + 1)
        self.ttft, self.e2el = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        self._ids = pa.array(list(self.runs), pa.string())

    def add(self, batch: pa.RecordBatch) -> None:
        """Count one batch; latencies run from the moment a request was due."""
        run = pc.index_in(batch["run_id"], self._ids).to_numpy(zero_copy_only=False)
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
    # In place: a batch is a few runs of perhaps thousands.
    np.add.at(table, (rows, bins), 1)


def count_latencies(paths: Sequence[Path], runs: Sequence[str]) -> LatencyCounts | None:
    """Stream the requests of these runs once; None when no requests are kept."""
    counts, any_kept = LatencyCounts({run: i for i, run in enumerate(runs)}), False
    for batch in _batches(chain.from_iterable(request_files(p) for p in paths if p.is_dir())):
        counts.add(batch)
        any_kept = True
    return counts if any_kept else None


def _batches(files: Iterable[RowsSource]) -> Iterator[pa.RecordBatch]:
    """Yield the columns that counting needs, of several small files at a time."""
    columns = ["run_id", *TIMES, "status", "error_class"]
    held: list[pa.Table] = []
    try:
        for source in files:
            held.append(read_columns(source, columns))
            if sum(map(len, held)) >= BATCH_ROWS:
                yield from _joined(held)
                held = []
        if held:
            yield from _joined(held)
    except (pa.ArrowInvalid, OSError) as error:
        raise ResultsError(f"request rows cannot be read: {error}") from error


def _joined(tables: Sequence[pa.Table]) -> list[pa.RecordBatch]:
    joined = pa.concat_tables(tables, promote_options="default")
    found: list[pa.RecordBatch] = joined.combine_chunks().to_batches()
    return found


def quantiles_s(histogram: np.ndarray, shares: Sequence[float]) -> list[float | None]:
    """Percentiles read off a histogram, to within one bin (2.9 %)."""
    total = int(histogram.sum())
    if total == 0:
        return [None] * len(shares)
    cumulative = np.cumsum(histogram)
    at = np.searchsorted(cumulative, np.ceil(np.array(shares) * total))
    return [float(EDGES_S[min(int(i), len(EDGES_S) - 1)]) for i in at]
