"""A finished study as one file, `.tar.zst`: written without names and secrets, read with suspicion.

What is in it lies as in a results directory: manifests, request rows, quality, environments, the
last part of each server's log. Whoever made an archive may have made it to harm: only plain files
in the folders of a results directory are unpacked, into a folder of our own, up to a limit.
"""

import contextlib
import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Iterator, Set
from pathlib import Path, PurePosixPath

import pyarrow as pa

from catalog.errors import BadFile, BadValue
from orchestrator.results.bundles import bundles_of
from orchestrator.results.contents import is_stored, read_stored
from orchestrator.results.given import ENDING, stands_for
from orchestrator.results.manifests import read_manifests
from orchestrator.results.names import Names
from orchestrator.results.store import FOLDERS, MOST_STORED_BYTES

QUALITY = "quality"
TOP_LEVEL = ("experiment.json", "planned.json")
TEXTS = (".json", ".txt", ".log", ".jsonl")
TAIL_BYTES = 64 * 1024
"""Of a server's log: its end says how it went."""
UNPACKED_BYTES, TIMES_UNPACKED, MOST_UNPACKED_BYTES = 1_000_000_000, 100, 32_000_000_000
"""What an archive may hold: so much whatever its size, or so many times it, and never more."""
MOST_FILES = 1_000_000
MOST_HEADER_BYTES = 64 * 1024
CHUNK = 1 << 20
_HEADERS = (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME)
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
_DAMAGED = (OSError, ValueError, EOFError, tarfile.TarError, pa.ArrowException)


def pack(root: Path, output: Path, names: Names) -> int:
    """Write a results directory into one file; return how many files it holds.

    Secrets and `names` are masked in texts. Request rows are published under their hash and stay
    as they are: BadFile names the first of them that holds a name.
    """
    if not output.name.endswith(ENDING):
        raise BadValue("-o", str(output), f"a file whose name ends in {ENDING}")
    if output.exists():
        raise BadValue("-o", str(output), "a file that does not exist yet")
    count = 0
    with (
        _whole_or_not_at_all(output) as beside,
        pa.CompressedOutputStream(str(beside), "zstd") as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        published = frozenset(f.sha256 for run in read_manifests(root) for f in run.files)
        for name in _files(root):
            data = _content(root, name, names, published)
            about = tarfile.TarInfo(name)  # no owner, no time: nothing of who packed it
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
            count += 1
    return count


@contextlib.contextmanager
def _whole_or_not_at_all(output: Path) -> Iterator[Path]:
    """Give a file beside the output that takes its place when the block ends well."""
    try:
        number, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
    except OSError as error:
        allowed = f"a file in a folder that can be written: {error.strerror}"
        raise BadValue("-o", str(output), allowed) from None
    os.close(number)
    beside = Path(name)
    try:
        yield beside
        beside.chmod(0o644)
        beside.replace(output)
    finally:
        beside.unlink(missing_ok=True)


def _files(root: Path) -> Iterator[str]:
    """Names of what is packed, in an order that does not change."""
    yield from (name for name in TOP_LEVEL if (root / name).is_file())
    bundled = bundles_of(root).places
    for folder in (*FOLDERS, QUALITY):
        plain = {
            path.relative_to(root)
            for path in (root / folder).rglob("*")
            if path.is_file() and not path.is_symlink() and not path.name.startswith(".")
        }
        others = (Path(name) for name in bundled if name.startswith(f"{folder}/"))
        plain.update(name for name in others if is_stored(root, name.as_posix()))
        yield from (name.as_posix() for name in sorted(plain))


def _content(root: Path, name: str, names: Names, published: Set[str]) -> bytes:
    data = read_stored(root, name, most_bytes=MOST_STORED_BYTES)
    folder, ending = PurePosixPath(name).parts[0], PurePosixPath(name).suffix
    if folder == "servers":
        return names.masked_text(data[-TAIL_BYTES:])
    if folder == "attempts":  # under the hash of its manifest: whole as it is, or not at all
        whole = hashlib.sha256(data).hexdigest() in published
        names.refuse_in(root / name, data, published=whole)
        return data
    if ending == ".json":
        return names.masked_json(root / name, data)
    if ending in TEXTS:
        return names.masked_text(data)
    names.refuse_in(root / name, data, published=False)
    return data


class _Suspect(tarfile.TarInfo):
    """A header that describes a plain file or a folder; BadFile for every other kind."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Suspect":
        found = super().frombuf(buf, encoding, errors)
        header = found.type in _HEADERS and found.size <= MOST_HEADER_BYTES
        if found.type not in _PLAIN and not header:
            raise BadFile(found.name, "is no plain file, and a packed study has no other")
        return found


_unpacked: dict[tuple[str, int, int], tempfile.TemporaryDirectory[str]] = {}


def opened(path: Path) -> Path:
    """Return a path as it is, a packed study as a folder that holds it until this process ends."""
    if not path.name.endswith(ENDING) or not path.is_file():
        return path
    about = path.stat()
    key = (str(path.resolve()), about.st_mtime_ns, about.st_size)
    if key not in _unpacked:
        folder = tempfile.TemporaryDirectory(prefix="moeserve-study-")
        unpack(path, Path(folder.name) / path.name.removesuffix(ENDING))
        _unpacked[key] = folder  # kept only whole; removed with the last reference to it
    root = Path(_unpacked[key].name) / path.name.removesuffix(ENDING)
    stands_for(root, path)
    return root


def unpack(path: Path, root: Path) -> None:
    """Unpack an archive into a new folder; BadFile for whatever is no packed study."""
    root.mkdir()
    try:
        with pa.input_stream(str(path), compression="zstd") as packed:
            _extract(path, packed, root)
    except BadFile:
        raise
    except _DAMAGED as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadFile(path, f"is no readable packed study ({said})") from None
    if not (root / "runs").is_dir():
        raise BadFile(path, "is no packed study: it has no runs/ in it")


def _extract(path: Path, packed: object, root: Path) -> None:
    most = max(UNPACKED_BYTES, TIMES_UNPACKED * path.stat().st_size)
    left, files = min(most, MOST_UNPACKED_BYTES), 0
    with tarfile.open(fileobj=packed, mode="r|", tarinfo=_Suspect) as archive:  # type: ignore[call-overload]
        for member in archive:
            files, left = files + 1, left - member.size
            if files > MOST_FILES or left < 0:
                raise BadFile(path, "holds more than a packed study of its size can")
            if member.size < 0 or member.issparse():
                raise BadFile(path, f"holds {member.name[:100]!r}, which is no plain file")
            target = root / _checked_name(path, member.name)
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            content = archive.extractfile(member)
            assert content is not None
            with target.open("xb") as file:
                while chunk := content.read(CHUNK):
                    file.write(chunk)


def _checked_name(path: Path, name: str) -> PurePosixPath:
    parts = PurePosixPath(name)
    known = parts.parts[:1] and (parts.parts[0] in (*FOLDERS, QUALITY) or name in TOP_LEVEL)
    if not known or ".." in parts.parts or "\\" in name or "\0" in name:
        raise BadFile(path, f"holds {name[:100]!r}, which is no file of a results directory")
    return parts
