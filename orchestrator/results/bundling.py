"""Writing bundles: whole, read back and flushed before their names are there."""

import hashlib
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from catalog.errors import ResultsError
from catalog.inside import own_folder
from orchestrator.host.files import sync_folder
from orchestrator.results.bundles import (
    ENDING,
    FOLDER,
    GROUP_BYTES,
    SCHEMA,
    State,
    bundles_of,
    checksum_of_end,
    groups,
    number_of,
)

GROUP_ROWS = 20_000
COMPRESSION = {"path": "zstd", "state": "zstd", "content": "zstd"}


class Entry(NamedTuple):
    """One path of a bundle."""

    path: str
    state: State
    content: bytes | None = None


def write_bundle(root: Path, entries: Iterable[Entry]) -> Path:
    """Publish a bundle of these entries under the next number; after a fault there is none."""
    folder = own_folder(root, FOLDER)
    temporary = folder / f".{uuid.uuid4().hex}.tmp"
    try:
        _check(root, temporary, _write(temporary, entries))
        with temporary.open("rb") as written:
            crc = checksum_of_end(written)
        while True:
            path = folder / f"{_next_number(root):06}-{crc}{ENDING}"
            try:
                os.link(temporary, path)
            except FileExistsError:
                continue
            sync_folder(folder)
            return path
    finally:
        temporary.unlink(missing_ok=True)


def move_bundled(root: Path, moved: Mapping[str, str]) -> None:
    """Let files that lie in bundles lie under other paths, all of them at once."""
    bundles = bundles_of(root)
    there = {path: target for path, target in moved.items() if bundles.has(path)}
    if there:
        write_bundle(root, list(_moves(bundles.content, there)))


def _moves(content: Callable[[str], memoryview], moved: Mapping[str, str]) -> Iterator[Entry]:
    for path, target in moved.items():
        yield Entry(path, "gone")
        yield Entry(target, "file", bytes(content(path)))


def _next_number(root: Path) -> int:
    names = bundles_of(root).names
    return number_of(names[-1]) + 1 if names else 1


def _write(path: Path, entries: Iterable[Entry]) -> list[tuple[str, str]]:
    """Write row groups of bounded size; return each path with the digest of its content."""
    written: list[tuple[str, str]] = []
    with path.open("xb") as raw:
        options: dict[str, Any] = {"compression": COMPRESSION, "use_dictionary": False}
        with pq.ParquetWriter(raw, SCHEMA, write_page_checksum=True, **options) as writer:
            for group in _grouped(entries):
                columns = zip(*group, strict=True)
                arrays = [
                    pa.array(each, kind)
                    for each, kind in zip(columns, SCHEMA.types, strict=True)
                ]  # fmt: skip
                writer.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), len(group))
                written += [(each.path, _digest(each.content)) for each in group]
        raw.flush()
        os.fsync(raw.fileno())
    return written


def _grouped(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Entries of one kind of file together, as many as one reading should have to unpack."""
    group: list[Entry] = []
    size = 0
    for entry in entries:
        bytes_more = len(entry.content or b"")
        full = size + bytes_more > GROUP_BYTES or len(group) >= GROUP_ROWS
        if group and (full or _kind(entry) != _kind(group[-1])):
            yield group
            group, size = [], 0
        group.append(entry)
        size += bytes_more
    if group:
        yield group


def _kind(entry: Entry) -> str:
    return entry.path.partition("/")[0]


def _check(root: Path, path: Path, written: list[tuple[str, str]]) -> None:
    """Read back what was written: what is taken away afterwards must be there."""
    found = [
        (name, _digest(content))
        for table in groups(root, path.name, ["path", "content"])
        for name, content in zip(
            table["path"].to_pylist(), table["content"].to_pylist(), strict=True
        )
    ]
    if found != written:
        raise ResultsError(f"{path}: what was written does not come back; nothing was taken away")


def _digest(content: bytes | None) -> str:
    return "" if content is None else hashlib.sha256(content).hexdigest()
