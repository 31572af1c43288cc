"""Free disk space: checked before the first server starts, and again before each run."""

import contextlib
import errno
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from catalog.errors import StorageError
from orchestrator.experiment.cells import Run

# A request's line while it is measured and its row when it is published, without and per token.
LINE_BYTES, LINE_TOKEN_BYTES = 400, 20
ROW_BYTES, ROW_TOKEN_BYTES = 120, 9
MANIFEST_BYTES = 16_000
SAFETY = 2
MARGIN_BYTES = 64 * 2**20
"""For server logs, samples, and other writers."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_disk_space(root: Path, runs: Iterable[Run]) -> None:
    """Refuse to start what would fill the disk.

    Raises StorageError `DISK_LOW` with what is needed and what is free.
    """
    kept, passing = 0, 0
    for run in runs:
        tokens = run.cell.num_prompts * run.cell.workload.output_len
        kept += run.cell.num_prompts * ROW_BYTES + tokens * ROW_TOKEN_BYTES + MANIFEST_BYTES
        passing = max(passing, run.cell.num_prompts * LINE_BYTES + tokens * LINE_TOKEN_BYTES)
    needed = SAFETY * (kept + passing) + MARGIN_BYTES
    free = shutil.disk_usage(root).free
    if free < needed:
        raise StorageError(
            f"DISK_LOW: {root} has {free / 2**20:.0f} MiB free and this study may need "
            f"{needed / 2**20:.0f} MiB; what was published is intact, free some room or give "
            "another directory with -o"
        )


@contextlib.contextmanager
def storage_errors(directory: Path) -> Iterator[None]:
    """Turn OSError into StorageError, with what is safe and what to do."""
    try:
        yield
    except OSError as error:
        code = "DISK_FULL" if error.errno in FULL else "STORAGE_FAILED"
        if error.errno == errno.EPERM:
            raise StorageError(
                f"{code}: {directory} is on a file system with no hard links, by which a run is "
                "published once and whole; give another directory with -o"
            ) from error
        raise StorageError(
            f"{code}: {error.strerror or error} while writing to {directory}; what was published "
            "is intact, and the same command goes on where this one stopped"
        ) from error
