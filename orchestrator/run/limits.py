"""The limits under which a runner works: a job's time, and the end of its attempt."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.experiment.cells import Run


@dataclass(frozen=True, slots=True)
class RunLimits:
    """Called before a run is started and before it is published; no limits by default."""

    may_start: Callable[[Run], bool] = lambda _: True
    may_publish: Callable[[], bool] = lambda: True
    """False once this attempt has been terminated: another one may run."""
    stop_grace_s: float | None = None
    """How long a server may take to end; None is the usual time."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Of the attempt (its job and task); kept with every run."""
