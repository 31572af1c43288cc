"""Files that a user names: regular ones alone, and no more of one than there is a use for.

A device has no end, and a pipe may have nobody who writes: the one would fill the memory, for the
other a command would wait for ever. A pipe that is open already, `/dev/stdin` or a shell's
`<(command)`, has a writer, and is read where the whole is wanted. Links are followed, unlike within
a folder of another's (`catalog.inside`): whoever names a file means it.
"""

import os
import re
import stat
from io import BufferedReader
from pathlib import Path

from catalog.errors import BadFile
from catalog.inside import MOST_BYTES, read_whole

LARGEST_SECRET_BYTES = 100_000
"""Of a key or a token: one line."""
_OPEN_ALREADY = re.compile(r"/dev/stdin|/(?:dev|proc/self)/fd/\d+")
# Without O_NONBLOCK the opening of a FIFO would wait for whoever writes into it.
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def open_named(path: Path, what: str = "file", *, piped: bool = False) -> BufferedReader:
    """Open a regular file to read it; BadFile says what is there instead of what is wanted.

    `piped` takes a pipe, too, that this process was given open.
    """
    try:
        descriptor = os.open(path, _FILE)
    except FileNotFoundError:
        raise BadFile(path, f"no such {what}") from None
    except (OSError, ValueError) as error:
        raise BadFile(path, f"cannot be read: {getattr(error, 'strerror', error)}") from None
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    if piped and stat.S_ISFIFO(mode) and _OPEN_ALREADY.fullmatch(str(path)):
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    found = "folder" if stat.S_ISDIR(mode) else "pipe" if stat.S_ISFIFO(mode) else "device"
    raise BadFile(path, f"is a {found}, not a regular file, so no {what}")


def check_named(path: Path, what: str = "file") -> Path:
    """Return the path of what `open_named` would open, for a library that opens it itself."""
    open_named(path, what).close()
    return path


def read_named(path: Path, what: str = "file", *, most_bytes: int = MOST_BYTES) -> bytes:
    """Read a file whole; BadFile as `open_named`, and for one with more bytes."""
    with open_named(path, what, piped=True) as file:
        try:
            return read_whole(file, path, most_bytes)
        except OSError as error:
            raise BadFile(path, f"cannot be read: {error.strerror}") from None


def text_named(
    path: Path, what: str = "file", *, most_bytes: int = MOST_BYTES, encoding: str = "utf-8"
) -> str:
    """Read a file of UTF-8 text, with line ends as Python has them; else BadFile."""
    data = read_named(path, what, most_bytes=most_bytes)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise BadFile(path, f"cannot be read as text: {error}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
