"""Readers that leave early, as `head` does: what is said to them is lost, and nothing else."""

import contextlib
import os
from collections.abc import Iterator
from typing import TextIO


@contextlib.contextmanager
def reader_may_leave(stream: TextIO) -> Iterator[None]:
    """Go on when a stream's reader has gone: a study does not end because nobody looks."""
    try:
        yield
    except BrokenPipeError:
        _to_nowhere(stream)


def let_go(stream: TextIO) -> None:
    """Write out what is left; the interpreter would complain of a reader that has gone."""
    with reader_may_leave(stream):
        stream.flush()


def _to_nowhere(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    finally:
        os.close(nowhere)
