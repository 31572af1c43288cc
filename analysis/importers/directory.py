"""Imported runs in a results directory: numbered within their condition, written, replaced."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from analysis.importers.result import ImportedRun
from catalog.errors import BadValue
from orchestrator.host.files import write_durably
from orchestrator.results.condition import condition_of, digest
from orchestrator.results.manifests import Manifest, StoredFile, read_manifests
from orchestrator.results.quantities import role_of
from orchestrator.results.record import RunRecord
from orchestrator.results.rows import write_parquet
from orchestrator.results.store import Store

FOLDERS = ("runs", "failed", "attempts", "environments")
NUMBERING = ("replicate", "block", "cell_id")
MOST_CHANGES = 4


@dataclass(frozen=True, slots=True)
class Pending:
    """A run on its way into the directory."""

    run: ImportedRun
    record: RunRecord
    details: Mapping[str, Any]


def published(into: Path) -> dict[str, Manifest]:
    """The runs that the directory holds, by their ids."""
    if not (into / "runs").is_dir():
        return {}
    return {manifest.record.run_id: manifest for manifest in read_manifests(into)}


def numbered(pending: Sequence[Pending], there: Mapping[str, Manifest]) -> list[Pending]:
    """Give repeats of one condition consecutive replicate numbers, after those that are there."""
    new = {one.record.run_id for one in pending}
    used: dict[str, set[int]] = {}
    for run_id, manifest in there.items():
        if run_id not in new:
            used.setdefault(manifest.record.cell_id, set()).add(manifest.record.replicate)
    return [_numbered(one, there.get(one.record.run_id), used) for one in pending]


def _numbered(one: Pending, before: Manifest | None, used: dict[str, set[int]]) -> Pending:
    cell_id = f"import-cell-{_condition(one)}"
    taken = used.setdefault(cell_id, set())
    number = one.record.replicate
    if before is not None and before.record.cell_id == cell_id:
        number = before.record.replicate
    while number in taken:
        number += 1
    taken.add(number)
    changed = {"replicate": number, "block": number, "cell_id": cell_id}
    record = msgspec.structs.replace(one.record, **changed)
    return Pending(one.run, record, one.details)


def _condition(one: Pending) -> str:
    """What makes two imported runs repeats of each other: all that is no measurement.

    What an importer did not take for a measurement is a label, whatever it holds.
    """
    row, measured = _flat(one.record), one.run.measured
    labels = [n for n in one.record.extra if n not in measured and role_of(n) is None]
    known = [name for name in row if role_of(name) == "condition"]
    return digest(condition_of(row, [*known, *labels]))


def changes(before: RunRecord, after: RunRecord) -> str:
    """What differs between two records of one run, in words: `strategy '' → 'tp8'`."""
    old, new = _flat(before), _flat(after)
    names = [n for n in (*old, *(n for n in new if n not in old)) if old.get(n) != new.get(n)]
    shown = [n for n in names if n not in (*NUMBERING, "extra")] or names
    texts = [f"{name} {old.get(name)!r} → {new.get(name)!r}" for name in shown[:MOST_CHANGES]]
    more = f" and {len(shown) - MOST_CHANGES} more" if len(shown) > MOST_CHANGES else ""
    return ", ".join(texts) + more


def _flat(record: RunRecord) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.structs.asdict(record)
    extra: dict[str, Any] = fields.pop("extra")
    return fields | extra


def write(into: Path, pending: Sequence[Pending]) -> None:
    """Publish the runs; one that is there already is replaced whole."""
    for one in pending:
        _check(one)
    store = Store(into)
    try:
        for name in FOLDERS:
            (into / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadValue("-o", str(into), f"a writable directory: {error.strerror}") from None
    # All rows before the first manifest: what cannot be written is found before a run is published.
    published = {one.record.run_id: _manifest(one, _write_rows(store, one)) for one in pending}
    for run_id, encoded in published.items():
        write_durably(store.manifests / f"{run_id}.json", encoded)


def _check(one: Pending) -> None:
    """Refuse what no file could hold: half of a surrogate pair, a number beyond its columns."""
    try:
        _manifest(one, ())
    except (ValueError, OverflowError, TypeError) as error:
        raise one.run.source.bad(f"cannot be recorded: {error}") from None


def _manifest(one: Pending, files: tuple[StoredFile, ...]) -> bytes:
    source = one.run.source.path
    details = {"imported_from": source.name, "tool": one.run.tool, **one.details}
    return msgspec.json.encode(Manifest(record=one.record, files=files, details=details))


def _write_rows(store: Store, one: Pending) -> tuple[StoredFile, ...]:
    if not one.run.rows:
        return ()
    folder = store.root / "attempts" / f"{one.record.run_id}.a1"
    folder.mkdir(exist_ok=True)
    path = folder / "requests.parquet"
    if not path.exists():
        write_parquet(path, one.record.run_id, one.run.rows)
    return (store.stored(path),)
