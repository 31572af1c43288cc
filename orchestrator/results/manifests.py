"""What is published of each run, its manifest, and how manifests are read back."""

import hashlib
import io
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from catalog.errors import BadFile, ResultsError
from orchestrator.results.contents import names_in, open_stored, read_folder, read_stored
from orchestrator.results.record import RunRecord

SCHEMA_VERSION = 1
WAY_OUT = "moved away, its run is missing, and `run` or `import` adds it again"


class StoredFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of a run, as it was when the run was published."""

    path: str
    """Relative to the results directory."""
    size_bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run as it is published: its row of the run table, its files, and everything else kept."""

    schema: int = SCHEMA_VERSION
    record: RunRecord
    files: tuple[StoredFile, ...] = ()
    details: dict[str, Any] = {}


class _Schema(msgspec.Struct):
    schema: int = 0


_manifests = msgspec.json.Decoder(Manifest)


def as_published(root: Path, file: StoredFile) -> Path | bytes:
    """Return where a file of a run lies, or of a bundle its bytes.

    Raises ResultsError for one that is missing or is not what was published: Arrow reads a damaged
    file as other numbers, or ends the process.
    """
    path = root / file.path
    try:
        with open_stored(root, file.path) as stored:
            found = hashlib.file_digest(stored, "sha256").hexdigest()
            source = bytes(stored.getbuffer()) if isinstance(stored, io.BytesIO) else path
    except FileNotFoundError:
        raise ResultsError(f"{path}: is missing, though its run was published") from None
    if found != file.sha256:
        raise ResultsError(f"{path}: is not the file that was published")
    return source


def read_manifests(root: Path) -> list[Manifest]:
    """Read every published run, and of runs that never finished the last failed attempt."""
    return list(each_manifest(root))


def each_manifest(root: Path) -> Iterator[Manifest]:
    """Yield what `read_manifests` returns, one at a time: all of them are large."""
    finished = set()
    for manifest in read_each_manifest(root, "runs", run_files(root)):
        finished.add(manifest.record.run_id)
        yield manifest
    yield from unfinished(root, finished)


def run_files(root: Path) -> list[str]:
    """Names of the files of all published runs in `runs/`."""
    require_results(root)
    return names_in(root, "runs")


def require_results(root: Path) -> None:
    """Raise BadFile for what is no results directory."""
    if (root / "runs").is_dir():
        return
    raise BadFile(
        root,
        "is not a results directory: it has no runs/ in it" if root.exists() else "no such folder",
    )


def unfinished(root: Path, finished: Collection[str]) -> Iterator[Manifest]:
    """Yield of each run that never finished the last failed attempt."""
    failures = read_all(root, "failed")
    failures.sort(key=lambda manifest: manifest.record.attempt)
    failed = {manifest.record.run_id: manifest for manifest in failures}
    yield from (manifest for run_id, manifest in failed.items() if run_id not in finished)


def read_all(root: Path, folder: str) -> list[Manifest]:
    """Read every run, or failed attempt, of a folder."""
    return list(read_each_manifest(root, folder, names_in(root, folder)))


def read_each_manifest(root: Path, folder: str, names: Sequence[str]) -> Iterator[Manifest]:
    """Yield runs, or failed attempts, by the names of their files in a folder."""
    for found in read_each_or_problem(root, folder, names):
        if isinstance(found, ResultsError):
            raise found
        yield found


def read_each_or_problem(
    root: Path, folder: str, names: Sequence[str]
) -> Iterator[Manifest | ResultsError]:
    """Yield the same, and of a record that cannot be read what is wrong with it."""
    for name, data in zip(names, read_folder(root, folder, names), strict=True):
        try:
            yield _decoded(root, f"{folder}/{name}", data)
        except ResultsError as error:
            yield error


def read_manifest(root: Path, path: Path) -> Manifest:
    """Read one run, or one failed attempt, of a results directory."""
    name = path.relative_to(root).as_posix()
    return _decoded(root, name, read_stored(root, name))


def _decoded(root: Path, name: str, data: bytes | memoryview) -> Manifest:
    try:
        manifest = _manifests.decode(data)
        newest = manifest.schema
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        newest = _schema(data)
        if newest <= SCHEMA_VERSION:
            raise ResultsError(f"{root / name}: is damaged: {error}; {WAY_OUT}") from error
    if newest > SCHEMA_VERSION:
        problem = f"schema {newest} is newer than {SCHEMA_VERSION}; update moeserve"
        raise ResultsError(f"{root / name}: {problem}")
    return manifest


def _schema(data: bytes | memoryview) -> int:
    """The schema of a record whose other fields this version may not know; 0 where it has none."""
    try:
        return msgspec.json.decode(data, type=_Schema).schema
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
