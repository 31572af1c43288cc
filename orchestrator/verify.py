"""Re-read a results directory: is everything that was published still there, whole and true?"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import BadFile, ResultsError
from catalog.inside import open_inside
from orchestrator.results.record import RunRecord
from orchestrator.results.rows import rows_of
from orchestrator.results.store import Manifest, StoredFile, read_manifests
from orchestrator.run.outcome import figures_of
from workloads.transcript import clean_error


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
        problem = _damage(root, file)
        if problem:
            yield problem
            damaged = True
    if not damaged:
        yield from _figures(root, manifest)


def _damage(root: Path, file: StoredFile) -> str:
    """Say what is wrong with a file of a run; "" for one that is as it was published."""
    try:
        with open_inside(root, file.path) as stored:
            found = hashlib.file_digest(stored, "sha256").hexdigest()
    except FileNotFoundError:
        return f"{file.path} is missing"
    except BadFile as error:
        return str(error)
    return "" if found == file.sha256 else f"{file.path} is not the file that was published"


def _figures(root: Path, manifest: Manifest) -> Iterator[str]:
    record = manifest.record
    named = (f.path for f in manifest.files if f.path.endswith("/requests.parquet"))
    parquet = next(named, None)
    if parquet is None:
        yield "it has no request rows"
        return
    try:
        rows = rows_of(root / parquet)
        summary = figures_of(
            rows,
            goodput=manifest.details.get("goodput") or {},
            max_concurrency=record.max_concurrency,
            percentiles_of_few=record.provenance == "imported",
        )
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError) as error:
        what = clean_error(f"{type(error).__name__}: {error}")
        raise ResultsError(f"{parquet}: cannot be read: {what}") from error
    if len(rows) != record.num_prompts:
        yield f"{len(rows)} request rows for {record.num_prompts} requests"
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
