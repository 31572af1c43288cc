"""One server start and all that it serves; and the GPUs it may be started on."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.experiment.cells import Run, Setup

LONGEST_NAME = 120


@dataclass(frozen=True, slots=True)
class Pool:
    """GPUs of other machines, on which the servers of a plan will run."""

    hardware: str
    """Of a setup that names none."""
    gpus_per_node: Mapping[str, int] = field(default_factory=dict)
    """By hardware; a server must fit one node. Unknown where a name is missing."""


@dataclass(frozen=True, slots=True)
class ServerGroup:
    """One server start and all it serves, in the order it serves them."""

    setup: Setup
    replicate: int
    runs: tuple[Run, ...]

    @property
    def group_id(self) -> str:
        """A name for people and for a folder: whatever a model is called, it stays one."""
        setup = self.setup
        name = f"{setup.model}.{setup.strategy}.{setup.technique.name}.r{self.replicate}"
        return re.sub(r"[^A-Za-z0-9._+=-]", "_", name)[:LONGEST_NAME].lstrip(".-")

    @property
    def num_gpus(self) -> int | None:
        return self.setup.layout.num_gpus if self.setup.layout else None
