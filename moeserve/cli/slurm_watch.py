"""A live view of the tasks on standard error, asked of Slurm less and less often."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from catalog.plain_text import plain
from moeserve.cli.show import note
from moeserve.cli.slurm_show import by_attention, now_of
from slurm.scheduler.command import Slurm, SlurmCommands
from slurm.submit.submission import SubmissionStore
from slurm.watch.status import StudyStatus, status

if TYPE_CHECKING:
    from rich.table import Table

FIRST_S, LONGEST_S, GROWTH = 5.0, 60.0, 1.5


async def watch_tasks(directory: Path, *, slurm: Slurm | None = None) -> StudyStatus:
    """Show how the tasks stand until none is waiting or running; return how they ended."""
    slurm, store = slurm or SlurmCommands(), SubmissionStore(directory).check()
    pause_s = FIRST_S
    found = await status(slurm, store)
    if not sys.stderr.isatty():
        while found.active or found.unknown:
            note(summary(found))
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_S, pause_s * GROWTH)
            found = await status(slurm, store)
        return found
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), transient=True, auto_refresh=False) as live:
        while found.active or found.unknown:
            live.update(tasks_table(found, live.console.height), refresh=True)
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_S, pause_s * GROWTH)
            found = await status(slurm, store)
    return found


def summary(found: StudyStatus) -> str:
    """Say in one line how many tasks are where, and when it ends at this rate."""
    silent = f"; Slurm does not say all ({'; '.join(found.silent)})" if found.silent else ""
    return f"{now_of(found).told}{silent}"


def tasks_table(found: StudyStatus, height: int) -> "Table":
    """Return the tasks that fit so many lines, those that need attention first."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(plain(summary(found))), header_style="bold")
    for name in ("task", "server group", "state", "runs", "why", "start", "node"):
        table.add_column(name)
    for task in by_attention(found.tasks)[: max(3, height - 6)]:
        cells = (task.task_id, task.group.group_id, task.state,
                 f"{task.done}/{len(task.group.runs)}", task.failure or task.reason,
                 task.start, task.node)  # fmt: skip
        table.add_row(*(Text(plain(cell)) for cell in cells))
    return table
