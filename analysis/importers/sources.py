"""Files and folders into runs; what could not be read of a folder is listed, not fatal."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from analysis.importers.document import read_documents
from analysis.importers.formats import FORMATS, repeats, runs_of
from analysis.importers.result import ImportedRun
from catalog.errors import BadFile, InputError

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".txt", ".log", ".out")
# Files that other tools keep beside their results: only worth a word when they hold a result.
QUIET = (".csv", ".txt", ".log", ".out")
# Files beside the runs that repeat them.
REPEATS = ("summary.json", "summary.csv")
MOST_SAID = 200


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was not imported, and why."""

    path: Path
    reason: str


@dataclass(slots=True)
class Reading:
    """What was found so far."""

    runs: list[tuple[ImportedRun, str]] = field(default_factory=list)
    """Each with the path that says where it lay: from the folder given, or its own folder."""
    skipped: list[Skipped] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)


def read_sources(paths: Iterable[Path]) -> Reading:
    """Read every file and folder; a file given by its own name must be a result."""
    found = Reading()
    for path in dict.fromkeys(paths):
        if not path.exists():
            raise BadFile(path, "no such file or directory")
        if path.is_dir():
            _read_folder(path, found)
        else:
            _read_file(path, path.absolute().parent.parent, found)
    return _without_repeats(found)


def _read_file(path: Path, base: Path, found: Reading) -> None:
    """A report that repeats others is skipped also where a pattern named it among them."""
    for document in read_documents(path):
        if why := repeats(document):
            found.skipped.append(Skipped(path, why))
            continue
        found.runs += [(run, _place(path, base)) for run in runs_of(document)]
        found.paths.append(path)


def _read_folder(folder: Path, found: Reading) -> None:
    before = len(found.runs)
    base = folder.absolute().parent
    tried: list[Skipped] = []
    for file in _files_below(folder):
        runs, reason = _runs_among(file)
        found.runs += [(run, _place(file, base)) for run in runs]
        if runs:
            found.paths.append(file)
        if reason and (runs or file.suffix.lower() not in QUIET):
            tried.append(Skipped(file, reason))
    found.skipped += tried
    if len(found.runs) == before:
        reasons = "; ".join(f"{s.path.name}: {s.reason}" for s in tried[:3])
        known = ", ".join(FORMATS)
        problem = f"holds no result file of a known format ({known})"
        raise BadFile(folder, problem + (f": {reasons}" if reasons else ""))


def _files_below(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(root, name)
            if path.suffix.lower() in SUFFIXES and not name.startswith(".") and path.is_file():
                yield path


def _runs_among(file: Path) -> tuple[list[ImportedRun], str]:
    """The runs of a file among others, and why no more: what is damaged loses no other."""
    if file.name in REPEATS:
        return [], "repeats the runs beside it"
    runs: list[ImportedRun] = []
    reasons: list[str] = []
    try:
        for document in read_documents(file):
            try:
                runs += runs_of(document)
            except InputError as error:
                reasons.append(str(error))
    except InputError as error:
        reasons.append(str(error))
    if not reasons:
        return runs, ""
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return runs, reasons[0].removeprefix(f"{file}: ")[:MOST_SAID] + more


def _place(path: Path, base: Path) -> str:
    try:
        return path.absolute().relative_to(base).as_posix()
    except ValueError:
        return path.name


def _without_repeats(found: Reading) -> Reading:
    """Drop a rounded export or printed summary whose run stands in a file with all its digits."""
    exact = {_print_of(run) for run, _ in found.runs if not run.rounded} - {None}
    kept: list[tuple[ImportedRun, str]] = []
    for run, place in found.runs:
        if run.rounded and _print_of(run) in exact:
            why = "repeats with fewer digits a run that another file holds"
            found.skipped.append(Skipped(run.source.path, why))
        else:
            kept.append((run, place))
    found.runs = kept
    return found


def _print_of(run: ImportedRun) -> tuple[object, ...] | None:
    """Counts and seconds that two records of one run share."""
    values = [run.summary.get(n) for n in ("completed", "total_output_tokens", "duration")]
    if any(value is None for value in values):
        return None
    return tuple(round(value, 2) for value in values if value is not None)


def results_of(path: Path) -> Sequence[ImportedRun]:
    """The runs of one file; refuses what is of no known format."""
    return [run for document in read_documents(path) for run in runs_of(document)]
