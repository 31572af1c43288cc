"""From files of any known tool to a results directory."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from analysis.importers.directory import Pending, changes, numbered, published, write
from analysis.importers.labels import Labels
from analysis.importers.leftovers import Scalar
from analysis.importers.names import proposals
from analysis.importers.record import digest, record_of
from analysis.importers.result import ImportedRun
from analysis.importers.sources import Skipped, read_sources, results_of
from catalog.errors import BadValue
from orchestrator.results.manifests import Manifest
from orchestrator.results.record import RunRecord

__all__ = ["Imported", "import_files", "results_of"]
LABELS = "labels"
"""Key of a manifest's details under which the user's own labels stand."""
MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Imported:
    """What was read and written, and files that are no runs."""

    records: tuple[RunRecord, ...]
    skipped: tuple[Skipped, ...] = ()
    known: int = 0
    """Runs that were there already, as they are."""
    relabelled: tuple[str, ...] = ()
    """Runs that were there otherwise: the file, and what changed."""
    proposed: Mapping[str, Mapping[str, Scalar]] = field(default_factory=dict)
    """What names of files tell and nothing else does, by file; not taken unasked."""


def import_files(
    files: Iterable[Path], into: Path, labels: Labels | None = None, *, from_name: bool = False
) -> Imported:
    """Read every file, then write one results directory; nothing is written when one is bad.

    A run that is there already keeps its labels, unless new ones are given. With `from_name`, what
    names of files and folders tell fills in what neither the file nor the user says.
    """
    given = labels or Labels()
    reading = read_sources(files)
    given.check(reading.paths)
    there = published(into)
    pending: dict[str, Pending] = {}
    proposed: dict[str, Mapping[str, Scalar]] = {}
    for run, place in reading.runs:
        run_id = _run_id(run, place)
        if run_id in pending:
            copy = f"is a copy of {pending[run_id].run.source.path.name}"
            reading.skipped.append(Skipped(run.source.path, copy))
            continue
        own = _labels(given, run, there.get(run_id))
        told = _told_by_name(run, place, own)
        own = {**told, **own} if from_name else own
        if told and not from_name:
            proposed[place] = told
        record = record_of(run, own, source=place, run_id=run_id)
        pending[run_id] = Pending(run, record, {LABELS: own})
    if not pending:
        reasons = "; ".join(f"{s.path.name}: {s.reason}" for s in reading.skipped[:MOST_NAMED])
        raise BadValue("FILE", reasons, "at least one result file")
    ready = numbered(list(pending.values()), there)
    known = {one.record.run_id for one in ready if _is_same(one, there)}
    relabelled = [text for one in ready if (text := _relabelled(one, there))]
    write(into, [one for one in ready if one.record.run_id not in known])
    records = tuple(one.record for one in ready)
    return Imported(records, tuple(reading.skipped), len(known), tuple(relabelled), proposed)


def _run_id(run: ImportedRun, place: str) -> str:
    """The same file is the same run wherever it is read from; a copy beside it is one too.

    Equal figures under another folder or another layout in the name are another run.
    """
    path = PurePath(place)
    return f"import-{digest(run.source.data, path.parent.name, proposals(PurePath(path.name)))}"


def _labels(given: Labels, run: ImportedRun, before: Manifest | None) -> dict[str, Scalar]:
    kept = before.details.get(LABELS) if before else None
    old = kept if isinstance(kept, Mapping) else {}
    return {**old, **given.of(run.source.path)}


def _told_by_name(
    run: ImportedRun, place: str, labels: Mapping[str, Scalar]
) -> Mapping[str, Scalar]:
    """What the path tells beyond the file and the user."""
    record = record_of(run, labels, source=place)
    keys = {str(key).replace("-", "_") for key in run.source.data}
    known = {n for n, v in labels.items() if v not in ("", None)} | set(run.labels) | keys
    found = {}
    for name, value in proposals(PurePath(place)).items():
        lengths = name in ("input_len", "output_len") and any(run.asked)
        says = getattr(record, name, None) if name not in ("input_len", "output_len") else lengths
        if says in (None, "", False) and name not in known:
            found[name] = value
    if record.request_rate is not None and record.max_concurrency is None:
        found.pop("max_concurrency", None)
    return found


def _is_same(one: Pending, there: Mapping[str, Manifest]) -> bool:
    before = there.get(one.record.run_id)
    return before is not None and before.record == one.record


def _relabelled(one: Pending, there: Mapping[str, Manifest]) -> str:
    before = there.get(one.record.run_id)
    if before is None or before.record == one.record:
        return ""
    return f"{one.run.source.path.name}: {changes(before.record, one.record)}"
