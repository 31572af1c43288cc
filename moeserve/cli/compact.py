"""`moeserve results compact DIR`: many small files of a study into few large ones."""

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from catalog.errors import BadValue
from moeserve.cli.show import counted, note
from orchestrator.results.given import ENDING

if TYPE_CHECKING:
    from orchestrator.results.compact import Progress

EVERY_S = 10.0
"""Between two lines of progress."""


def compact_directory(root: Path, *, dry_run: bool) -> None:
    """Bundle the files of a study in which nothing is being measured, or say what that would do."""
    from orchestrator.results.compact import compact, planned_compaction

    if root.name.endswith(ENDING) and root.is_file():
        raise BadValue(
            "results compact", str(root), "a results directory; this is one file already"
        )
    _refuse_active_tasks(root)
    if dry_run:
        planned = planned_compaction(root)
        note(
            f"{counted(planned.files, 'small file')} of {planned.files_before:,} in {root}, "
            f"{planned.bytes_before:,} bytes, would lie in bundles: about "
            f"{planned.files_after:,} files; nothing was changed"
        )
        return
    done = compact(root, _progress())
    kept = f"; {counted(done.kept, 'file')} changed meanwhile and stayed" if done.kept else ""
    note(f"{root}: {done.files_before:,} files before, {done.files_after:,} after{kept}")


def _refuse_active_tasks(root: Path) -> None:
    """Raise BadValue while Slurm has a task of the study, ClusterError while that is unknown."""
    if not (root / "slurm").is_dir():
        return
    from slurm.scheduler.command import SlurmCommands
    from slurm.submit.submission import SubmissionStore
    from slurm.watch.status import status

    found = asyncio.run(status(SlurmCommands(), SubmissionStore(root)))
    found.check_known("nothing was compacted")
    if found.active:
        told = f"{counted(len(found.active), 'task')} of it wait or run"
        raise BadValue(
            "results compact", str(root), f"a study in which nothing is measured: {told}"
        )


def _progress() -> "Progress":
    last = time.monotonic()

    def say(done: int, of: int) -> None:
        nonlocal last
        if done < of and time.monotonic() - last >= EVERY_S:
            last = time.monotonic()
            note(f"{done:,} of {of:,} files and folders")
            sys.stderr.flush()

    return say
