"""Whether a server's threads had cores of their own: each waits for the slowest in every layer."""

import re
from pathlib import Path

from catalog.named_file import open_named

HEAD_BYTES = 1_000_000
_THREADS = re.compile(rb"\bn_threads = (\d{1,4})\b")
NEARLY_FREE = 0.5
"""Of a core: what a host always does takes a little of each."""


def threads_told(log: Path) -> int | None:
    """Return how many threads the server computes with by its log; None where it does not say."""
    with open_named(log) as file:
        found = _THREADS.search(file.read(HEAD_BYTES))
    return int(found[1]) if found else None


def cores_taken(threads: int | None, free: float) -> tuple[str, ...]:
    """Return a note where the server has more threads than cores were free before it started."""
    if threads is None or threads - free <= NEARLY_FREE:
        return ()
    fitting = max(1, int(free + NEARLY_FREE))
    return (
        f"CORES_TAKEN: the server computes with {threads} threads, and {free:.1f} cores were free "
        "before it started; each thread waits for the slowest, so that a token may take several "
        f"times as long: end what else runs here, or --server-arg=--threads={fitting}",
    )
