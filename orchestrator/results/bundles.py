"""Many small files of a results directory in few large ones, each under the path that it had.

DIR/bundles/NUMBER-CRC.parquet is a Parquet file of rows (path, state, content): a file byte for
byte, an empty folder, or a path that is no more. Its pages have checksums of their own, and CRC is
that of what they do not cover, the file's end.

Of a path that several bundles know, the highest number counts; a plain file of the same path counts
before all of them. So a bundle is published by one link, and what it holds is taken away only
afterwards: whoever reads in between finds each once.
"""

import os
import re
import zlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from catalog.errors import BadFile
from catalog.inside import open_inside

FOLDER, ENDING = "bundles", ".parquet"
NAME = re.compile(r"\d{6,12}-[0-9a-f]{8}\.parquet", re.ASCII)
MOST_FOOTER_BYTES = 2**28
State = Literal["file", "folder", "gone"]
SCHEMA_VERSION = "1"
SCHEMA_KEY = b"moeserve_bundle"
SCHEMA = pa.schema(
    [("path", pa.string()), ("state", pa.string()), ("content", pa.large_binary())],
    metadata={SCHEMA_KEY: SCHEMA_VERSION},
)
MOST_FILE_BYTES = 64 * 2**20
"""A larger file is no small one, and stays where it is."""
GROUP_BYTES = 8 * 2**20
"""Content of a row group, which is what the reading of a single file has to unpack."""
MOST_GROUP_BYTES = GROUP_BYTES + MOST_FILE_BYTES + 2**22
MOST_ROWS = 10_000_000
DAMAGED = (pa.ArrowException, OSError, ValueError, LookupError, TypeError, MemoryError)


class Place(NamedTuple):
    """Where the content of a path lies."""

    bundle: str
    group: int
    row: int
    state: State


class Bundles:
    """What all bundles of a directory hold, as they were when they were looked at."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        """Read the paths of these bundles, in the order of their numbers; BadFile for a bad one."""
        self.root, self.names = root, names
        self.places: dict[str, Place] = {}
        for name in names:
            self.places.update(_places(root, name))
        self._last: tuple[tuple[str, int], pa.ChunkedArray] | None = None

    @cached_property
    def folders(self) -> dict[str, set[str]]:
        """Names of the files directly in each folder."""
        found: dict[str, set[str]] = {}
        for path, place in self.places.items():
            if place.state == "file":
                folder, _, name = path.rpartition("/")
                found.setdefault(folder, set()).add(name)
        return found

    @cached_property
    def taken(self) -> frozenset[str]:
        """Folders of attempts and of server starts that lay here: their names are not free."""
        parts = (path.split("/") for path, place in self.places.items() if place.state != "gone")
        return frozenset(f"{each[0]}/{each[1]}" for each in parts if len(each) > 2)

    def has(self, path: str) -> bool:
        place = self.places.get(path)
        return place is not None and place.state == "file"

    def content(self, path: str) -> memoryview:
        """Return a file byte for byte; FileNotFoundError where there is none.

        Neighbours in the order of their paths come from one reading.
        """
        place = self.places.get(path)
        if place is None or place.state != "file":
            raise FileNotFoundError(path)
        key = (place.bundle, place.group)
        if self._last is None or self._last[0] != key:
            self._last = None  # before the next: two groups at once are not needed
            self._last = (key, _contents(self.root, *key))
        return memoryview(self._last[1][place.row].as_buffer())


_known: dict[str, tuple[tuple[Any, ...], Bundles]] = {}


def bundles_of(root: Path) -> Bundles:
    """Return what the bundles of a directory hold now; what was read stays as long as they do."""
    signature = tuple(_listed(root))
    known = _known.get(str(root))
    if known is None or known[0] != signature:
        found = Bundles(root, [name for name, *_ in signature])
        _known.clear()  # one directory at a time is worked on
        _known[str(root)] = known = (signature, found)
    return known[1]


def _listed(root: Path) -> list[tuple[str, int, int]]:
    """Names of the bundles in the order of their numbers, with what changes when they do."""
    try:
        with os.scandir(root / FOLDER) as found:
            listed = [(e.name, e.stat().st_size, e.stat().st_mtime_ns) for e in found if _is_one(e)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(listed, key=lambda each: number_of(each[0]))


def _is_one(entry: "os.DirEntry[str]") -> bool:
    return NAME.fullmatch(entry.name) is not None


def number_of(name: str) -> int:
    return int(name.partition("-")[0])


def checksum_of_end(file: BinaryIO) -> str:
    """CRC-32 of a Parquet file's footer with its length and mark, 8 hex digits.

    Readers of damaged footers do not always raise: some end the process.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    length = int.from_bytes(file.read(4), "little") + 8
    file.seek(max(0, size - min(length, MOST_FOOTER_BYTES)))
    found = zlib.crc32(file.read())
    file.seek(0)
    return f"{found:08x}"


def _places(root: Path, name: str) -> Iterator[tuple[str, Place]]:
    for group, table in enumerate(groups(root, name, ["path", "state"])):
        paths, states = (table[column].to_pylist() for column in ("path", "state"))
        for row, (path, state) in enumerate(zip(paths, states, strict=True)):
            if not isinstance(path, str) or state not in get_args(State):
                raise BadFile(root / FOLDER / name, f"holds {str(path)[:100]!r} as {state!r}")
            yield path, Place(name, group, row, state)


def _contents(root: Path, name: str, group: int) -> pa.ChunkedArray:
    return next(groups(root, name, ["content"], (group,)))["content"]


def groups(
    root: Path, name: str, columns: list[str], wanted: Sequence[int] | None = None
) -> Iterator[pa.Table]:
    """Yield row groups; BadFile for what is damaged, or unpacks to more than a bundle can hold."""
    path = root / FOLDER / name
    try:
        with open_inside(root, f"{FOLDER}/{name}") as raw, _opened(path, raw) as file:
            for group in range(file.num_row_groups) if wanted is None else wanted:
                yield file.read_row_group(group, columns=columns)
    except BadFile:
        raise
    except FileNotFoundError:
        raise
    except DAMAGED as error:
        said = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise BadFile(path, f"is damaged, and what it holds with it ({said})") from None


def _opened(path: Path, raw: BinaryIO) -> pq.ParquetFile:
    if NAME.fullmatch(path.name) and checksum_of_end(raw) not in path.name:
        raise BadFile(path, "is damaged, and what it holds with it (checksum of its end)")
    file = pq.ParquetFile(raw, page_checksum_verification=True)
    about, kept = file.metadata, file.schema_arrow
    version = (kept.metadata or {}).get(SCHEMA_KEY, b"").decode("ascii", "replace")
    if not kept.equals(SCHEMA) or version != SCHEMA_VERSION:
        raise BadFile(path, f"is no bundle of this version: update moeserve ({version[:20]!r})")
    if about.num_rows > MOST_ROWS:
        raise BadFile(path, f"holds {about.num_rows:,} paths, and a bundle has fewer")
    for group in map(about.row_group, range(about.num_row_groups)):
        if group.total_byte_size > MOST_GROUP_BYTES or _repeats(group):
            raise BadFile(path, "unpacks to more than a bundle does")
    return file


def _repeats(group: Any) -> bool:
    """Whether a value may be written once and referred to: a few bytes could be terabytes."""
    columns = map(group.column, range(group.num_columns))
    return any(each.has_dictionary_page or {*each.encodings} - {"PLAIN", "RLE"} for each in columns)
