"""What happens while an experiment runs, as data: a terminal shows it, a test reads it."""

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.experiment.cells import Run
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.results.record import RunRecord
from workloads.client.progress import Progress


@dataclass(frozen=True, slots=True)
class GroupStarted:
    group: ServerGroup
    runs: int
    """Runs of the group that are still to be done."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a server, or a run on it, is busy with."""

    group: ServerGroup
    text: str


@dataclass(frozen=True, slots=True)
class RunStarted:
    run: Run


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far the load of a run is; reads are about one a token."""

    run: Run
    progress: Progress


@dataclass(frozen=True, slots=True)
class RunFinished:
    record: RunRecord
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GroupFailed:
    group: ServerGroup
    error: str
    log: str
    """Where the server's log is."""
    log_tail: str
    starts_again: bool


@dataclass(frozen=True, slots=True)
class Notice:
    """Something of the whole study that a reader should know."""

    text: str


RunEvent = Notice | GroupStarted | Stage | RunStarted | RunProgress | RunFinished | GroupFailed
EventListener = Callable[[RunEvent], None]
