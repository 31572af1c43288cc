"""The head of a GGUF file: what it says of the model inside, read before any server starts.

Format: github.com/ggml-org/ggml, docs/gguf.md; little-endian, versions 2 and 3.
"""

import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import BadFile
from catalog.named_file import open_named

MAGIC = b"GGUF"
VERSIONS = (2, 3)
SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
STRING, ARRAY = 8, 9
LENGTH_BYTES = 8
MOST_ENTRIES = 65_536
MOST_STRINGS = 2**24
"""Of all arrays of strings together; vocabularies have a few hundred thousand."""
MOST_TEXT_BYTES = 2**24
SPLIT_NAME = re.compile(r"(?P<stem>.*)-\d{5}-of-(?P<count>\d{5})\.gguf")

Value = int | float | bool | str


@dataclass(frozen=True, slots=True)
class GgufHead:
    """Metadata by key (an array is its length), and the bytes of all parts of the file."""

    metadata: dict[str, Value]
    size_bytes: int

    def of_model(self, key: str) -> Value | None:
        """Return a value that stands under the architecture's own name."""
        architecture = self.metadata.get("general.architecture", "")
        return self.metadata.get(f"{architecture}.{key}")

    @property
    def layers(self) -> int | None:
        """Without those that predict further tokens, which the file counts too."""
        blocks, further = self.of_model("block_count"), self.of_model("nextn_predict_layers") or 0
        if isinstance(blocks, int) and isinstance(further, int):
            return blocks - further
        return None

    @property
    def vocab(self) -> int | None:
        found = self.metadata.get("tokenizer.ggml.tokens")
        return found if isinstance(found, int) else None


def read_head(path: Path) -> GgufHead:
    """Read the metadata; BadFile says what is wrong with a file that is none, or is cut short."""
    try:
        with open_named(path) as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise BadFile(path, f"is no GGUF file: it does not begin with {MAGIC.decode()}")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                metadata = _Reader(mapped).metadata()
        return GgufHead(metadata, sum(part.stat().st_size for part in parts(path)))
    except FileNotFoundError as error:
        raise BadFile(path, f"its part {Path(error.filename).name} is missing") from None
    except OSError as error:
        raise BadFile(path, f"cannot be read: {error.strerror or error}") from error
    except (struct.error, _Malformed) as error:
        raise BadFile(path, f"is no whole GGUF file: {error}") from error


def parts(path: Path) -> list[Path]:
    """Return every part of a file split as `NAME-00001-of-00003.gguf`; else the file alone."""
    split = SPLIT_NAME.fullmatch(path.name)
    if split is None:
        return [path]
    count = int(split["count"])
    names = (f"{split['stem']}-{part:05d}-of-{count:05d}.gguf" for part in range(1, count + 1))
    return [path.with_name(name) for name in names]


class _Malformed(Exception):
    """The bytes are not what the format asks for."""


class _Reader:
    """A place in the mapped file that moves on with each thing read."""

    def __init__(self, mapped: mmap.mmap) -> None:
        self._mapped, self._at = mapped, len(MAGIC)
        self._strings = MOST_STRINGS

    def metadata(self) -> dict[str, Value]:
        version = self._number("I")
        if version not in VERSIONS:
            raise _Malformed(f"version {version:.0f}, not 2 or 3")
        _, count = self._number("Q"), int(self._number("Q"))
        if count > MOST_ENTRIES:
            raise _Malformed(f"{count} entries of metadata")
        return {self._text(): self._value(int(self._number("I"))) for _ in range(count)}

    def _number(self, code: str) -> int | float:
        (value,) = struct.unpack_from(f"<{code}", self._mapped, self._at)
        self._at += struct.calcsize(f"<{code}")
        number: int | float = value
        return number

    def _text(self) -> str:
        length = int(self._number("Q"))
        if length > MOST_TEXT_BYTES:
            raise _Malformed(f"a text of {length} bytes in its metadata")
        return self._bytes(length).decode(errors="replace")

    def _bytes(self, length: int) -> bytes:
        start = self._at
        self._skip(length)
        return self._mapped[start : self._at]

    def _skip(self, length: int) -> None:
        if length > len(self._mapped) - self._at:
            raise _Malformed("it ends within its metadata")
        self._at += length

    def _value(self, kind: int) -> Value:
        if kind == STRING:
            return self._text()
        if kind == ARRAY:
            return self._array()
        if kind not in SCALARS:
            raise _Malformed(f"a value of the unknown type {kind}")
        return self._number(SCALARS[kind])

    def _skip_strings(self, length: int) -> None:
        """Each has a length of eight bytes before it: what has no room for those is cut short."""
        self._strings -= length
        if length * LENGTH_BYTES > len(self._mapped) - self._at:
            raise _Malformed("it ends within its metadata")
        if self._strings < 0:
            raise _Malformed(f"more than {MOST_STRINGS} strings in its metadata")
        for _ in range(length):
            self._skip(int(self._number("Q")))

    def _array(self) -> int:
        kind, length = int(self._number("I")), int(self._number("Q"))
        if kind == STRING:
            self._skip_strings(length)
        elif kind in SCALARS:
            self._skip(length * struct.calcsize(f"<{SCALARS[kind]}"))
        else:
            raise _Malformed(f"an array of the unknown type {kind}")
        return length
