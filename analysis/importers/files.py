"""From files of any known tool to a results directory."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from analysis.importers import aiperf, guidellm, inference_perf, inferencex, sglang, vllm
from analysis.importers.document import Document, read_documents
from analysis.importers.labels import Labels
from analysis.importers.result import Result, record_of
from catalog.errors import BadFile, BadValue
from orchestrator.record import RunRecord
from orchestrator.rows import write_parquet
from orchestrator.store import Manifest, Store, StoredFile

Matches = Callable[[Document], bool]
FORMATS: dict[str, tuple[Matches, Callable[[Document], Sequence[Result]]]] = {
    "vllm bench serve": (vllm.matches, lambda d: [vllm.result(d)]),
    "sglang": (sglang.matches, lambda d: [sglang.result(d)]),
    "guidellm": (guidellm.matches, guidellm.results),
    "aiperf": (aiperf.matches, lambda d: [aiperf.result(d)]),
    "inference-perf": (inference_perf.matches, lambda d: [inference_perf.result(d)]),
    "inferencex": (inferencex.matches, lambda d: [inferencex.result(d)]),
}
# Files beside the runs that repeat them.
REPEATS = ("summary.json", "summary.csv", "summary_lifecycle_metrics.json")


@dataclass(frozen=True, slots=True)
class Imported:
    """What was read and written, and files of given folders that are no results."""

    records: tuple[RunRecord, ...]
    skipped: tuple[Path, ...]


def import_files(files: Iterable[Path], into: Path, labels: Labels | None = None) -> Imported:
    """Read every file, then write one results directory; nothing is written when one is bad."""
    skipped: list[Path] = []
    found = [result for path in files for result in _results_below(path, skipped)]
    if not found:
        raise BadValue("FILE", "", "at least one result file")
    records = _numbered([record_of(result, labels or Labels()) for result in found])
    _write(into, list(zip(records, found, strict=True)))
    return Imported(tuple(records), tuple(skipped))


def _results_below(path: Path, skipped: list[Path]) -> Iterator[Result]:
    if not path.exists():
        raise BadFile(path, "no such file or directory")
    if not path.is_dir():
        yield from results_of(path)
        return
    count = 0
    for file in sorted(p for p in path.rglob("*.json*") if p.is_file()):
        documents = list(read_documents(file)) if file.name not in REPEATS else []
        known = [document for document in documents if _format(document)]
        if not known:
            skipped.append(file)
        for document in known:
            count += 1
            yield from _read(document)
    if not count:
        raise BadFile(path, f"holds no result file of a known format ({', '.join(FORMATS)})")


def results_of(path: Path) -> Iterator[Result]:
    """Yield the runs of one file; refuse what is of no known format."""
    for document in read_documents(path):
        if aiperf.is_records(document):
            raise aiperf.records_refused(document)
        if not _format(document):
            keys = ", ".join(list(document.data)[:4])
            known = ", ".join(FORMATS)
            raise document.bad(f"none of the known formats ({known}); its keys begin {keys}")
        yield from _read(document)


def _format(document: Document) -> str | None:
    return next((name for name, (matches, _) in FORMATS.items() if matches(document)), None)


def _read(document: Document) -> Sequence[Result]:
    return FORMATS[str(_format(document))][1](document)


def _numbered(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Give repeats of one condition consecutive replicate numbers."""
    seen: dict[tuple[object, ...], set[int]] = {}
    numbered = []
    for record in records:
        cell = (
            record.model, record.strategy, record.gpu_type, record.workload, record.input_len,
            record.output_len, record.max_concurrency, record.request_rate, record.extra["tool"],
        )  # fmt: skip
        used = seen.setdefault(cell, set())
        number = record.replicate
        while number in used:
            number += 1
        used.add(number)
        cell_id = f"import-cell-{list(seen).index(cell) + 1}"
        changed = {"replicate": number, "block": number, "cell_id": cell_id}
        numbered.append(msgspec.structs.replace(record, **changed))
    return numbered


def _write(into: Path, imported: Sequence[tuple[RunRecord, Result]]) -> None:
    store = Store(into)
    try:
        for name in ("runs", "failed", "attempts", "environments"):
            (into / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadValue("-o", str(into), f"a writable directory: {error.strerror}") from None
    for record, result in imported:
        details = {"imported_from": result.source.path.name, "tool": result.tool}
        files = _write_rows(store, record, result)
        store.publish(Manifest(record=record, files=files, details=details))


def _write_rows(store: Store, record: RunRecord, result: Result) -> tuple[StoredFile, ...]:
    if not result.rows:
        return ()
    folder = store.root / "attempts" / f"{record.run_id}.a1"
    folder.mkdir(exist_ok=True)
    path = folder / "requests.parquet"
    if not path.exists():
        write_parquet(path, record.run_id, result.rows)
    return (store.stored(path),)
