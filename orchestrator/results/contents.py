"""What a results directory holds by path, whether it lies as a file or in a bundle.

Who lists looks at files before bundles, and who reads does the same: a file is taken away only
when its bundle is there, so in this order nothing is missed.
"""

import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from catalog.inside import MOST_BYTES, open_inside, read_each, read_whole
from orchestrator.results.bundles import Bundles, bundles_of


def names_in(root: Path, folder: str, ending: str = ".json") -> list[str]:
    """Names of the files directly in a folder that end so, in order; hidden ones are none."""
    plain: set[str] = set()
    try:
        with os.scandir(root / folder) as found:
            plain = {e.name for e in found if e.name.endswith(ending) and e.name[0] != "."}
    except (FileNotFoundError, NotADirectoryError):
        pass
    bundled = bundles_of(root).folders.get(folder, ())
    return sorted(plain.union(name for name in bundled if name.endswith(ending)))


def open_stored(root: Path, name: str) -> io.BufferedReader | io.BytesIO:
    """Open a file of the directory; errors as `open_inside`, and BadFile for a damaged bundle."""
    try:
        return open_inside(root, name)
    except FileNotFoundError:
        return io.BytesIO(_bundled(root, name))


def read_stored(root: Path, name: str, *, most_bytes: int = MOST_BYTES) -> bytes:
    """Read a file of the directory whole; BadFile if it has more bytes."""
    with open_stored(root, name) as file:
        return read_whole(file, root / name, most_bytes)


def read_folder(root: Path, folder: str, names: Iterable[str]) -> Iterator[bytes | memoryview]:
    """Yield files directly in a folder, each whole; errors as `read_stored`."""
    listed = list(names)
    bundles = bundles_of(root)
    for name, data in zip(listed, read_each(root, folder, listed), strict=True):
        path = f"{folder}/{name}"
        if data is not None:
            yield data
        elif bundles.has(path):
            yield _as_listed(bundles, path)
        else:
            yield read_stored(root, path)


def _as_listed(bundles: Bundles, path: str) -> memoryview:
    """A file of bundles as they were; where larger ones have taken their place, of those."""
    try:
        return bundles.content(path)
    except FileNotFoundError:
        return _bundled(bundles.root, path)


def is_stored(root: Path, name: str) -> bool:
    """Whether there is such a file."""
    return (root / name).exists() or bundles_of(root).has(name)


def _bundled(root: Path, name: str) -> memoryview:
    try:
        return bundles_of(root).content(name)
    except FileNotFoundError:  # of a bundle, where larger ones have taken its place just now
        return bundles_of(root).content(name)
