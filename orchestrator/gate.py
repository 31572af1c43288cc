"""What a runner that works under somebody else's limits may still do."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.cells import Run


@dataclass(frozen=True, slots=True)
class Gate:
    """Asked before a run is started and before it is published; open unless told otherwise."""

    may_start: Callable[[Run], bool] = lambda _: True
    may_publish: Callable[[], bool] = lambda: True
    """False once somebody else has been told that this attempt is over."""
    stop_grace_s: float | None = None
    """How long a server may take to end; None is the usual time."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Who made the attempt; kept with every run."""
