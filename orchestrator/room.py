"""Room on the disk: looked for before the first server starts, and again before each run."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from catalog.errors import StorageError
from orchestrator.cells import Run

# A request's line while it is measured and its row when it is published, without and per token.
LINE_BYTES, LINE_TOKEN_BYTES = 400, 20
ROW_BYTES, ROW_TOKEN_BYTES = 120, 9
MANIFEST_BYTES = 16_000
SAFETY = 2
MARGIN_BYTES = 64 * 2**20
"""For server logs, samples, and whoever else writes there."""


def check_room(root: Path, runs: Iterable[Run]) -> None:
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
