"""Everything that the checks of a run read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catalog.models import Model
from orchestrator.experiment.cells import Cell
from workloads.transcript import RequestRow


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything the checks of a run read."""

    cell: Cell
    model: Model
    rows: Sequence[RequestRow]
    figures: Mapping[str, Any]
    """The run's summary, and the figures of the engine, the server and the client."""
    measured: bool
    probing: bool = False
    """A search for capacity overloads on purpose."""
