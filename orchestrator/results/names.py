"""Names of hosts and users in what is handed on: found, and masked or refused."""

import contextlib
import getpass
import io
import multiprocessing
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalog.errors import BadFile, ResultsError
from catalog.inside import read_inside
from catalog.python import safe_children
from catalog.secrets import redact
from orchestrator.results.bundles import bundles_of
from orchestrator.results.contents import is_stored, read_stored

SAID = frozenset({"host", "hostname", "node", "node_name", "user", "username", "user_name"})
"""Keys of records under which a host or a user is named."""
SHORTEST = 2
"""A name of one letter would mask ordinary words."""
NAME_MASK = "HIDDEN"
NOT_NAMES = frozenset({"localhost", "none", "auto", "root"})
HOME = re.compile(r"(?<![\w.-])/(?:home|Users)/([\w.-]+)")


@dataclass(frozen=True, slots=True)
class Names:
    """Names to keep out of a packed study; an empty set leaves every text but its secrets."""

    pattern: re.Pattern[str] | None

    @classmethod
    def asked(cls, root: Path, *, kept: bool) -> "Names":
        """Collect this host's and user's names, and those that a study's records hold."""
        if kept:
            return cls(None)
        found = {socket.gethostname(), socket.gethostname().partition(".")[0], Path.home().name}
        with contextlib.suppress(KeyError, OSError):
            found.add(getpass.getuser())
        for path in root.rglob("*.json"):
            if path.is_file() and not path.is_symlink():
                data = read_inside(root, path.relative_to(root).as_posix())
                found |= set(_named(_decoded(path, data)))
        for name in bundles_of(root).places:
            if name.endswith(".json") and is_stored(root, name):
                found |= set(_named(_decoded(root / name, read_stored(root, name))))
        words = [re.escape(name) for name in found if _is_name(name)]
        return cls(re.compile(rf"(?<![\w-])(?:{'|'.join(sorted(words)) or '(?!)'})(?![\w-])"))

    def masked(self, text: str) -> str:
        """A text without its secrets, and without these names unless they are kept."""
        text = redact(text)
        if self.pattern is None:
            return text
        return self.pattern.sub(NAME_MASK, HOME.sub(f"/home/{NAME_MASK}", text))

    def masked_text(self, data: bytes) -> bytes:
        """The same of a text file's bytes; what is no UTF-8 becomes a mark."""
        return self.masked(data.decode("utf-8", "replace")).encode()

    def masked_json(self, path: Path, data: bytes) -> bytes:
        """The same of every text of a JSON file, however deep; keys stay."""
        return msgspec.json.encode(self._deep(_decoded(path, data)))

    def refuse_in(self, path: Path, data: bytes, *, published: bool) -> None:
        """Raise BadFile where a file that must stay as it is holds a name or a secret.

        One that is not `published`, as its hash tells, may be damaged in any way.
        """
        for text in _texts(path, data, published=published):
            if self.masked(text) != text:
                raise BadFile(
                    path,
                    "holds the name of a host or user, or a secret, and its hash is published: "
                    "--with-names packs names, secrets never",
                )

    def _deep(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.masked(value)
        if isinstance(value, dict):
            return {key: self._deep(each) for key, each in value.items()}
        return [self._deep(each) for each in value] if isinstance(value, list) else value


def _is_name(text: str) -> bool:
    return len(text) >= SHORTEST and text.lower() not in NOT_NAMES and not text.isdigit()


def _decoded(path: Path, data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ResultsError(f"{path}: is damaged: {error}") from error


def _named(value: Any) -> Iterator[str]:
    """What stands under the keys that name a host or a user."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key in SAID and isinstance(each, str):
                yield each
            else:
                yield from _named(each)
    elif isinstance(value, list):
        for each in value:
            yield from _named(each)


def _texts(path: Path, data: bytes, *, published: bool) -> list[str]:
    """Texts of a file: of a Parquet file those of its columns, each once; else all of it."""
    if path.suffix != ".parquet":
        return [data.decode("utf-8", "replace")]
    try:
        return parquet_texts(data) if published else _apart(data)
    except (OSError, pa.ArrowException) as error:
        raise ResultsError(f"{path}: cannot be read: {error}") from error
    except BrokenProcessPool:
        way = "no run's record names it: remove it, and pack again"
        raise ResultsError(f"{path}: is damaged, and ends whoever reads it; {way}") from None


def _apart(data: bytes) -> list[str]:
    """The same in a Python of its own: of some damaged footers Arrow ends the process."""
    context = multiprocessing.get_context("spawn")
    with safe_children(), ProcessPoolExecutor(1, context) as pool:
        return pool.submit(parquet_texts, data).result()


def parquet_texts(data: bytes) -> list[str]:
    """Texts in the columns of a Parquet file, each once a column."""
    table = pq.read_table(io.BytesIO(data))
    kinds = (pa.types.is_dictionary, pa.types.is_string, pa.types.is_large_string)
    columns = [
        table[name]
        for name, kind in zip(table.column_names, table.schema.types, strict=True)
        if any(is_kind(kind) for is_kind in kinds)
    ]
    return [str(each) for column in columns for each in pc.unique(column).to_pylist() if each]
