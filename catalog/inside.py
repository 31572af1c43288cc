"""Files in folders that others may have prepared: read inside the folder, written through no link.

A results directory may come from anybody, and a folder for temporary files belongs to everybody. A
link in the one, a name made beforehand in the other would have us read, empty or fill a file that
lies somewhere else.
"""

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from catalog.errors import BadFile, BadValue

MOST_BYTES = 256_000_000
"""Of a file that is read whole: records, experiments, descriptions of machines."""
SMALL_BYTES = 2**16
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK the opening of a FIFO would wait for whoever writes into it.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def open_inside(root: Path, name: str | PurePosixPath) -> BufferedReader:
    """Open a regular file by its path relative to a folder, following no link below it.

    Raises BadFile for what lies outside, is a link or no regular file, and FileNotFoundError.
    """
    parts = _parts(root, name)
    with contextlib.ExitStack() as stack:
        try:
            descriptor = os.open(parts[-1], _FILE, dir_fd=_folder(stack, root, parts[:-1]))
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _refusal(root, name, error) from error
        return _regular(descriptor, root / name)


def _folder(stack: contextlib.ExitStack, root: Path, parts: tuple[str, ...]) -> int:
    """Open a folder by its path below another, following no link there."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, folder)
    for part in parts:
        folder = os.open(part, _FOLDER, dir_fd=folder)
        stack.callback(os.close, folder)
    return folder


def _regular(descriptor: int, path: Path) -> BufferedReader:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadFile(path, "is no regular file")
    return os.fdopen(descriptor, "rb")


def _refusal(root: Path, name: str | PurePosixPath, error: OSError) -> BadFile:
    return BadFile(root / name, _why(error)) if root.is_dir() else BadFile(root, "is no directory")


def read_each(
    root: Path, folder: str, names: Iterable[str], *, most_bytes: int = MOST_BYTES
) -> Iterator[bytes | None]:
    """Yield files of one folder inside another whole, None for one that is not there.

    As `read_inside` has them, but the way to the folder is gone once for all of them.
    """
    with contextlib.ExitStack() as stack:
        try:
            opened = _folder(stack, root, _parts(root, folder))
        except FileNotFoundError:
            yield from (None for _ in names)
            return
        except OSError as error:
            raise _refusal(root, folder, error) from error
        inside = root / folder
        for name in names:
            (part,) = _parts(root, name)
            try:
                descriptor = os.open(part, _FILE, dir_fd=opened)
            except FileNotFoundError:
                yield None
                continue
            except OSError as error:
                raise _refusal(root, f"{folder}/{name}", error) from error
            path = inside / name
            with _regular(descriptor, path) as file:
                yield read_whole(file, path, most_bytes)


def read_inside(root: Path, name: str | PurePosixPath, *, most_bytes: int = MOST_BYTES) -> bytes:
    """Read a regular file inside a folder whole; errors as `open_inside`, and BadFile if large."""
    with open_inside(root, name) as file:
        return read_whole(file, root / name, most_bytes)


def read_whole(file: BinaryIO, path: Path, most_bytes: int) -> bytes:
    """Read an open file to its end; BadFile, which names the path, if it has more bytes."""
    # Most are small, and room for all that may be asked for is reserved before it is read.
    data = file.read(min(SMALL_BYTES, most_bytes + 1))
    if len(data) == SMALL_BYTES:
        data += file.read(most_bytes + 1 - len(data))
    if len(data) > most_bytes:
        raise BadFile(path, f"has more than the {most_bytes} bytes that are read of it")
    return data


def check_inside(root: Path, name: str | PurePosixPath) -> Path:
    """Return the path of a regular file inside a folder; errors as `open_inside`."""
    open_inside(root, name).close()
    return root / name


def own_folder(root: Path, *names: str) -> Path:
    """Make folders below one another, none of them a link to somewhere else; return the last."""
    folder = root
    for name in names:
        folder = folder / name
        folder.mkdir(exist_ok=True)
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise BadFile(folder, "is a link, and results are written through none")
    return folder


def _parts(root: Path, name: str | PurePosixPath) -> tuple[str, ...]:
    path = PurePosixPath(name)
    parts = path.parts
    if path.is_absolute() or not parts or ".." in parts or "\0" in str(name):
        raise BadFile(root, f"names a file outside of it: {str(name)[:200]!r}")
    return parts


def _why(error: OSError) -> str:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return "is, or lies behind, a link: nothing outside of the directory is read"
    return f"cannot be read: {error.strerror}"


@contextlib.contextmanager
def lock_file(path: Path) -> Iterator[int]:
    """Open a file to lock it: made if it is missing, followed if it is a link never, kept as it is.

    Those whom the folder is shared with, by the group and the umask, may lock it too. Raises
    BadFile for a link or what is no regular file.
    """
    try:
        descriptor = os.open(path, _LOCK, 0o660)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
        raise BadFile(path, "is no regular file, as a lock must be") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BadFile(path, "is no regular file, as a lock must be")
        yield descriptor
    finally:
        os.close(descriptor)


def private_folder(name: str) -> Path:
    """Return a folder that only this user can enter, for what the user's processes share.

    It lies in the user's runtime directory, else under the folder for temporary files, where the
    name is anybody's to take: one that is not this user's alone is refused.
    """
    user = os.getuid()
    for base in (os.environ.get("XDG_RUNTIME_DIR"), f"/run/user/{user}"):
        if base and Path(base).is_absolute() and _is_private(Path(base)):
            return _made(Path(base) / f"moeserve-{name}")
    return _made(Path(tempfile.gettempdir()) / f"moeserve-{name}-{user}")


def _made(folder: Path) -> Path:
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if not _is_private(folder):
        raise BadValue(
            "the folder for locks",
            str(folder),
            "a folder of this user's alone (mode 700): somebody else may have made it; remove it, "
            "or set XDG_RUNTIME_DIR or TMPDIR to a folder of your own",
        )
    return folder


def _is_private(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return own and not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO)


def check_own(folder: Path) -> Path:
    """Return a folder whose files are loaded; BadFile if somebody else may have put them there.

    Somebody else is who is neither this user nor root.
    """
    found = folder.lstat()
    safe = stat.S_ISDIR(found.st_mode) and found.st_uid in (os.getuid(), 0)
    if not safe or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise BadFile(folder, "somebody else may have written it; remove it, and it is made again")
    return folder
