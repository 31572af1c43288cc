"""How far a study is: tasks by state, runs an hour, and when it ends at that rate."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from slurm.watch.status import StudyStatus

WINDOW = timedelta(hours=1)
"""The rate is that of the time before now, so that it follows what the queue grants."""


@dataclass(frozen=True, slots=True)
class StudyProgress:
    """Counts, and what they promise; None where nothing is known to promise it."""

    states: Mapping[str, int]
    """Tasks by state, the most frequent first."""
    runs: int
    missing: int
    runs_per_hour: float | None
    ends_at: datetime | None
    """When the runs of waiting and running tasks are done at this rate; None also while it is not
    known which tasks those are."""

    @property
    def told(self) -> str:
        """All of it in one line."""
        counted = ", ".join(f"{count:,} {state}" for state, count in self.states.items())
        left = f"{self.missing:,} of {self.runs:,} runs missing"
        rate = "" if self.runs_per_hour is None else f"; {self.runs_per_hour:,.0f} runs an hour"
        end = self.ends_at.astimezone() if self.ends_at else None
        return f"{counted}; {left}{rate}" + (f", done about {end:%a %H:%M}" if end else "")


def progress(found: StudyStatus, now: datetime) -> StudyProgress:
    """Count tasks and runs, and extrapolate from what was published within the last hour."""
    missing = {run.run_id for run in found.missing}
    rate = _runs_per_second(found, missing, now)
    to_come = sum(len(task.group.runs) - task.done for task in found.active)
    foreseen = rate and to_come and not found.unknown
    ends_at = now + timedelta(seconds=to_come / rate) if rate and foreseen else None
    return StudyProgress(
        states=dict(Counter(task.state for task in found.tasks).most_common()),
        runs=sum(len(task.group.runs) for task in found.tasks),
        missing=len(missing),
        runs_per_hour=rate and rate * 3600,
        ends_at=ends_at,
    )


def _runs_per_second(found: StudyStatus, missing: set[str], now: datetime) -> float | None:
    """Return the rate since the first task at work within the window began; None without any."""
    begin, began, done = now - WINDOW, [], 0
    for task in found.tasks:
        ends = [_at(e.at) for e in task.entries if _published(e.run_id, e.event, missing)]
        # A node's clock may be ahead of this one: what is published has been.
        recent = sum(begin <= at for at in ends)
        done += recent
        if recent or task.state == "running":
            began += [_at(e.at) for e in task.entries if e.event == "started"]
    if not done:
        return None
    seconds = (now - max(begin, min(began, default=begin))).total_seconds()
    return done / seconds if seconds > 0 else None


def _published(run_id: str, event: str, missing: set[str]) -> bool:
    return event == "run_finished" and run_id not in missing


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)
