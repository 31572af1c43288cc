"""Streams as they come: a reader that leaves early, as `head` does, none at all, or a full disk."""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

STREAMS = 3
"""Standard input, output and error have the numbers below."""
FULL = (errno.ENOSPC, errno.EDQUOT)


def open_streams() -> None:
    """Give a stream that is closed (`>&-`) somewhere to go, and every text a way out.

    A file opened later would else get its number, and what a server prints. Characters that the
    encoding lacks are written as escapes.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) < STREAMS:
        os.set_inheritable(number, True)
    os.close(number)
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            nowhere = Path(os.devnull).open("r+", encoding="utf-8")  # noqa: SIM115 (as long as we)
            setattr(sys, name, nowhere)
        elif isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def reader_may_leave(stream: TextIO) -> Iterator[None]:
    """Go on when a stream's reader has gone: a study does not end because nobody looks.

    Nor does it where a log's disk is full; a result that cannot be written is an error.
    """
    try:
        yield
    except OSError as error:
        if stream is not sys.stderr and not isinstance(error, BrokenPipeError):
            raise
        to_nowhere(stream)


def let_go(stream: TextIO) -> None:
    """Write out what is left; the interpreter would complain of a reader that has gone."""
    with reader_may_leave(stream):
        stream.flush()


def to_nowhere(stream: TextIO) -> None:
    """Let what is written from now on, and what waits to be, be lost."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    finally:
        os.close(nowhere)
