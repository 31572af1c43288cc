"""`moeserve results compact`: the small files of runs that are over, in few large ones.

A bundle is published whole before the first file of it is taken away, and a file is taken away only
if it is still the one that was bundled. Ended anywhere in between, some files lie in both places,
byte for byte the same, and are read once; the next compaction takes them away.
"""

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import BadValue
from catalog.inside import read_inside
from orchestrator.host.files import sync_folder
from orchestrator.results.bundles import FOLDER, MOST_FILE_BYTES, Bundles, bundles_of
from orchestrator.results.bundling import Entry, write_bundle
from orchestrator.results.contents import names_in
from orchestrator.results.manifests import read_manifests, require_results
from orchestrator.results.store import Store

BUNDLE_BYTES = 2**30
"""Content of one bundle, before it is compressed."""
BUNDLE_PATHS = 1_000_000
SMALL_BUNDLE_BYTES, MOST_SMALL_BUNDLES = 64 * 2**20, 8
"""So many small bundles are put together."""
STILL_S = 900.0
"""An attempt without a record that changed this lately is one that is still being written."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Piece:
    """A file or an empty folder that can lie in a bundle as well."""

    path: str
    size_bytes: int
    changed_ns: int
    is_folder: bool = False


@dataclass(frozen=True, slots=True)
class Compaction:
    """What a compaction does, or has done."""

    pieces: tuple[Piece, ...]
    files_before: int
    files_after: int
    bytes_before: int
    """Of the files that it takes."""
    kept: int = 0
    """Of them left where they are, because they changed in between."""

    @property
    def files(self) -> int:
        return sum(not piece.is_folder for piece in self.pieces)


def planned_compaction(root: Path) -> Compaction:
    """Return what could be bundled; BadFile for no results directory, BadValue while one writes."""
    require_results(root)
    recorded = _recorded(root)
    _refuse_written(root, recorded)
    pieces = tuple(_pieces(root, recorded))
    before = _count(root)
    taken = sum(not piece.is_folder for piece in pieces)
    size = sum(piece.size_bytes for piece in pieces)
    bundles = (size // BUNDLE_BYTES + 1) if pieces else 0
    return Compaction(pieces, before, before - taken + bundles, size)


def compact(root: Path, progress: Progress = lambda _done, _all: None) -> Compaction:
    """Bundle the small files of every run that is over; doing it again changes nothing."""
    require_results(root)  # refuses what is no results directory before a lock is made there
    store = Store(root)
    with store.locked():
        found = planned_compaction(root)
        for left in (root / FOLDER).glob(".*.tmp"):  # of a compaction that was killed
            left.unlink()
        kept, done = 0, 0
        for part in _parts(found.pieces):
            write_bundle(root, _entries(root, part))
            kept += sum(not _take_away(root, piece) for piece in part)
            _remove_empty_folders(root, part)
            done += len(part)
            progress(done, len(found.pieces))
        _join_small(root)
        after = _count(root)
    return Compaction(found.pieces, found.files_before, after, found.bytes_before, kept)


def _recorded(root: Path) -> frozenset[str]:
    """Names of the attempts of which there is a record: they are over."""
    failed = (name.removesuffix(".json") for name in names_in(root, "failed"))
    done = (each.record for each in read_manifests(root))
    return frozenset(failed) | {f"{each.run_id}.a{each.attempt}" for each in done}


def _refuse_written(root: Path, recorded: frozenset[str]) -> None:
    """Raise BadValue where an attempt seems to be under way, on this host or another."""
    for name in _listed(root / "attempts"):
        if name in recorded:
            continue
        folder = root / "attempts" / name
        still_s = time.time() - max(p.lstat().st_mtime for p in (folder, *folder.iterdir()))
        if still_s < STILL_S:
            allowed = "a study in which nothing is being measured"
            told = f"attempt {name} has no record and was written {still_s:.0f} s ago"
            later = f"what was cut off is left alone {STILL_S / 60:.0f} minutes later"
            raise BadValue("results compact", str(root), f"{allowed}: {told}; {later}")


def _pieces(root: Path, recorded: frozenset[str]) -> Iterator[Piece]:
    """Yield what belongs to runs that are over, in the order of their paths."""
    attempts = (f"attempts/{name}" for name in _listed(root / "attempts") if name in recorded)
    for folder in attempts:
        yield from _inside(root, folder)
    for name in ("failed", "runs"):
        yield from (each for each in _inside(root, name, deep=False) if each.path != f"{name}/")
    for name in _listed(root / "servers"):
        yield from _inside(root, f"servers/{name}")


def _inside(root: Path, folder: str, *, deep: bool = True) -> Iterator[Piece]:
    """Yield plain files that are small, and a folder with nothing in it; links stay as they are."""
    try:
        with os.scandir(root / folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except (NotADirectoryError, FileNotFoundError):
        return
    for entry in entries:
        about = entry.stat(follow_symlinks=False)
        path = f"{folder}/{entry.name}"
        if stat.S_ISDIR(about.st_mode) and deep:
            yield from _inside(root, path)
        elif _is_small_file(about) and entry.name[0] != ".":
            yield Piece(path, about.st_size, about.st_mtime_ns)
    if not entries:
        yield Piece(f"{folder}/", 0, 0, is_folder=True)


def _is_small_file(about: os.stat_result) -> bool:
    return stat.S_ISREG(about.st_mode) and about.st_size <= MOST_FILE_BYTES


def _listed(folder: Path) -> list[str]:
    """Names of the folders in a folder."""
    try:
        with os.scandir(folder) as found:
            return sorted(e.name for e in found if e.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def _parts(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Yield what makes one bundle each."""
    part: list[Piece] = []
    size = 0
    for piece in pieces:
        if part and (size + piece.size_bytes > BUNDLE_BYTES or len(part) >= BUNDLE_PATHS):
            yield part
            part, size = [], 0
        part.append(piece)
        size += piece.size_bytes
    if part:
        yield part


def _entries(root: Path, part: Iterable[Piece]) -> Iterator[Entry]:
    for piece in part:
        if piece.is_folder:
            yield Entry(piece.path, "folder")
        else:
            yield Entry(piece.path, "file", read_inside(root, piece.path))


def _take_away(root: Path, piece: Piece) -> bool:
    """Remove what is in a bundle now; False for a file that has changed since."""
    path = root / piece.path
    if piece.is_folder:
        return True
    about = path.lstat()
    if (about.st_size, about.st_mtime_ns) != (piece.size_bytes, piece.changed_ns):
        return False
    path.unlink()
    return True


def _remove_empty_folders(root: Path, part: Iterable[Piece]) -> None:
    """Remove the folders of attempts and server starts that have nothing in them any more."""
    tops = {"/".join(piece.path.split("/")[:2]) for piece in part if piece.path.count("/") > 1}
    for top in sorted(tops):
        for folder, _, _ in os.walk(root / top, topdown=False):
            with contextlib.suppress(OSError):  # a file that stays keeps its folder
                Path(folder).rmdir()
    for name in ("attempts", "failed", "runs", "servers"):
        if (root / name).is_dir():
            sync_folder(root / name)


def _join_small(root: Path) -> None:
    """Put small bundles together when they have become many."""
    bundles = bundles_of(root)
    small = [n for n in bundles.names if (root / FOLDER / n).stat().st_size < SMALL_BUNDLE_BYTES]
    if len(small) <= MOST_SMALL_BUNDLES:
        return
    # A path that is gone stays so: a larger bundle may still have it.
    wanted = sorted(path for path, place in bundles.places.items() if place.bundle in small)
    write_bundle(root, (_again(bundles, path) for path in wanted))
    for name in small:
        (root / FOLDER / name).unlink()
    sync_folder(root / FOLDER)


def _again(bundles: Bundles, path: str) -> Entry:
    state = bundles.places[path].state
    return Entry(path, state, bytes(bundles.content(path)) if state == "file" else None)


def _count(root: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(root))
