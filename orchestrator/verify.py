"""Re-read a results directory: is everything that was published still there, whole and true?"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import ResultsError
from orchestrator.outcome import figures_of
from orchestrator.record import RunRecord
from orchestrator.rows import rows_of
from orchestrator.store import Manifest, read_manifests


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one run."""

    run_id: str
    problem: str


def verify_directory(root: Path) -> list[Problem]:
    """Check hashes, counts and identities, and recompute every summary from its rows."""
    return [
        Problem(manifest.record.run_id, problem)
        for manifest in read_manifests(root)
        if manifest.files
        for problem in _problems(root, manifest)
    ]


def _problems(root: Path, manifest: Manifest) -> Iterator[str]:
    damaged = False
    for file in manifest.files:
        path = root / file.path
        if not path.is_file():
            yield f"{file.path} is missing"
            damaged = True
        elif hashlib.sha256(path.read_bytes()).hexdigest() != file.sha256:
            yield f"{file.path} is not the file that was published"
            damaged = True
    if not damaged:
        yield from _figures(root, manifest)


def _figures(root: Path, manifest: Manifest) -> Iterator[str]:
    record = manifest.record
    parquet = next(f.path for f in manifest.files if f.path.endswith("/requests.parquet"))
    try:
        rows = rows_of(root / parquet)
    except (OSError, ValueError, KeyError) as error:
        raise ResultsError(f"{parquet}: cannot be read: {error}") from error
    if len(rows) != record.num_prompts:
        yield f"{len(rows)} request rows for {record.num_prompts} requests"
    goodput = manifest.details.get("goodput") or {}
    summary = figures_of(rows, goodput=goodput, max_concurrency=record.max_concurrency)
    for name, value in summary.items():
        stored = (
            getattr(record, name) if name in RunRecord.__struct_fields__ else record.extra.get(name)
        )
        if not _same(stored, value):
            yield f"{name} was published as {stored}, its rows give {value}"


def _same(stored: object, value: float | int | None) -> bool:
    """Bit for bit, but for NaN, which is not equal to itself."""
    if isinstance(stored, float) and isinstance(value, float):
        return stored == value or (math.isnan(stored) and math.isnan(value))
    return stored == value
