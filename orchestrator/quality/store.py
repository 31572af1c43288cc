"""Quality in a results directory.

DIR/quality/ID.json        one configuration's record
DIR/quality/ID.parquet     what it said of every token: a row a position
DIR/quality/compared.json  each configuration against its model's reference
"""

import hashlib
import os
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from catalog.errors import BadValue, ResultsError
from catalog.inside import own_folder, read_inside
from orchestrator.host.files import write_durably
from orchestrator.quality.record import QualityRecord
from workloads.quality.compare import compare
from workloads.quality.scores import Scores

FOLDER = "quality"
WAY_OUT = "moved away, `moeserve quality` measures or compares it again"
MOST_SCORE_BYTES = 8_000_000_000
T = TypeVar("T")


class QualityComparison(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One configuration against the reference."""

    configuration_id: str
    reference_id: str
    reference: str
    perplexity_ratio: float
    perplexity_ratio_low: float | None
    perplexity_ratio_high: float | None
    token_agreement: float | None
    kl_divergence: float | None
    kl_mass: float | None
    same_perplexity: bool | None


def folder_of(root: Path) -> Path:
    """Make the folder, or say that it cannot be made."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        return own_folder(root, FOLDER)
    except OSError as error:
        allowed = f"a writable directory: {error.strerror or error}"
        raise BadValue("--result-dir", str(root), allowed) from error


def write_scores(folder: Path, configuration_id: str, scores: Scores) -> str:
    """Write what was said of every token; return the file's hash."""
    count, length = scores.tokens.shape
    positions = length - 1
    table = pa.table(
        {
            "window": np.repeat(np.arange(count, dtype=np.int32), positions),
            "token": scores.tokens[:, 1:].ravel(),
            "first_token": np.repeat(scores.tokens[:, 0], positions),
            "logprob": scores.logprobs.ravel(),
            "top_ids": _lists(scores.top_ids),
            "top_logprobs": _lists(scores.top_logprobs),
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data = sink.getvalue().to_pybytes()
    write_durably(folder / f"{configuration_id}.parquet", data)
    return hashlib.sha256(data).hexdigest()


def _lists(values: np.ndarray) -> pa.Array:
    width = values.shape[-1]
    if not width:
        return pa.nulls(values.shape[0] * values.shape[1])
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), width)


def read_scores(root: Path, record: QualityRecord) -> Scores:
    """Read a configuration's scores, after checking that they are what was written."""
    path = root / FOLDER / f"{record.configuration_id}.parquet"
    way = f"with {path.with_suffix('.json').name} {WAY_OUT}"
    try:
        data = read_inside(root, f"{FOLDER}/{path.name}", most_bytes=MOST_SCORE_BYTES)
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read: {error.strerror}; {way}") from error
    if hashlib.sha256(data).hexdigest() != record.scores_sha256:
        raise ResultsError(f"{path}: is not the file that was written; {way}")
    table = pq.read_table(pa.BufferReader(data))
    count = int(table["window"][-1].as_py()) + 1
    shape = (count, table.num_rows // count)
    first = table["first_token"].to_numpy().reshape(shape)[:, :1]
    tokens = np.concatenate([first, table["token"].to_numpy().reshape(shape)], axis=1)
    return Scores(
        tokens.astype(np.int32),
        table["logprob"].to_numpy().reshape(shape).astype(np.float64),
        _array(table["top_ids"], shape).astype(np.int32),
        _array(table["top_logprobs"], shape).astype(np.float32),
    )


def _array(column: pa.ChunkedArray, shape: tuple[int, int]) -> np.ndarray:
    if pa.types.is_null(column.type):
        return np.empty((*shape, 0))
    values: np.ndarray = column.combine_chunks().flatten().to_numpy()
    return values.reshape(*shape, -1)


def read_records(root: Path) -> list[QualityRecord]:
    """Read every record, oldest first."""
    paths = [path for path in (root / FOLDER).glob("*.json") if path.name != "compared.json"]
    found = [_read(root, path, QualityRecord) for path in paths]
    return sorted(found, key=lambda record: record.started_at)


def read_comparisons(root: Path) -> list[QualityComparison]:
    path = root / FOLDER / "compared.json"
    return _read(root, path, list[QualityComparison]) if os.path.lexists(path) else []


def compare_with_reference(
    root: Path, record: QualityRecord, reference: QualityRecord, *, name: str
) -> QualityComparison:
    """Compare two configurations from what was kept of them."""
    found = compare(read_scores(root, record), read_scores(root, reference))
    low, high = found.ratio_interval or (None, None)
    return QualityComparison(
        configuration_id=record.configuration_id,
        reference_id=reference.configuration_id,
        reference=name,
        perplexity_ratio=found.perplexity_ratio,
        perplexity_ratio_low=low,
        perplexity_ratio_high=high,
        token_agreement=found.token_agreement,
        kl_divergence=found.kl_divergence,
        kl_mass=found.kl_mass,
        same_perplexity=found.same_perplexity,
    )


def _read(root: Path, path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(read_inside(root, f"{FOLDER}/{path.name}"), type=kind)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ResultsError(f"{path}: damaged: {error}; {WAY_OUT}") from error
