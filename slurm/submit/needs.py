"""CPUs and host memory that a task is asked for where nobody says how many."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from catalog.models import Model
from catalog.units import GIB, gib
from orchestrator.engines.registry import engine_kind
from orchestrator.experiment.effective_model import stored_model
from orchestrator.experiment.server_args import last_values
from orchestrator.experiment.server_group import ServerGroup
from slurm.submit.arrays import ArrayRequest

SMALLEST_BYTES = 1 * GIB
"""Of a task in which nothing real is loaded; one was seen to take 0.2 GiB of it."""
RANK_BYTES = 5 * GIB
"""An allowance for one worker: Python, torch, the driver's context, pinned buffers."""
PROCESS_BYTES = 2 * GIB
"""An allowance for an API server, an engine core, the load generator."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a task needs of each node; None where that is not known."""

    cpus: int | None = None
    memory_bytes: int | None = None


def needs_of(group: ServerGroup, model: Model, request: ArrayRequest) -> Needs:
    """Return what a server group needs of the fullest node.

    CPUs are vLLM's own rule, «CPU resources for GPU deployments»: API servers + engine cores + a
    coordinator of several cores + one a GPU, which all spin, and here one more for the client.
    Memory holds the processes, one copy of the weights (read through the page cache, shared by the
    ranks of a node), and what the technique keeps out of the GPUs.
    """
    setup = group.setup
    if engine_kind(setup.engine).devices == "none":
        return Needs(1, SMALLEST_BYTES)
    if setup.hardware in ("", "CPU") or setup.layout is None:
        return Needs()
    ranks, dp = max(1, request.gpus), setup.layout.dp
    servers = _api_servers(group) or dp
    cores = math.ceil(dp / request.nodes)
    processes = servers + cores + (dp > 1) + 1
    weights_bytes = checkpoint_bytes(group, model)
    if weights_bytes is None:
        return Needs(processes + ranks)
    held_bytes = weights_bytes + ranks * setup.technique.offloaded_bytes
    memory_bytes = ranks * RANK_BYTES + processes * PROCESS_BYTES + held_bytes
    return Needs(processes + ranks, math.ceil(memory_bytes / GIB) * GIB)


def checkpoint_bytes(group: ServerGroup, model: Model) -> float | None:
    """Return the bytes of the weights that a server loads; None where they are not known."""
    if not (model.sized and group.setup.technique.weights_known):
        return None
    try:
        return stored_model(group.setup, model).held.total
    except KeyError:  # of a data type whose size is not in the catalog
        return None


def together(needs: Iterable[Needs]) -> Needs:
    """Return what is enough for each of an array's tasks; unknown where one of them is."""
    listed = list(needs)
    cpus = [each.cpus for each in listed if each.cpus is not None]
    sizes = [each.memory_bytes for each in listed if each.memory_bytes is not None]
    return Needs(
        max(cpus) if listed and len(cpus) == len(listed) else None,
        max(sizes) if listed and len(sizes) == len(listed) else None,
    )


def shortage(needs: Needs, cpus: int | None, memory_bytes: float | None) -> str:
    """Say what was asked for that is less than needed; empty where nothing is known to be."""
    said = []
    if cpus is not None and needs.cpus is not None and cpus < needs.cpus:
        said.append(f"{cpus} CPUs asked for, {needs.cpus} are needed")
    if memory_bytes and needs.memory_bytes and memory_bytes < needs.memory_bytes:
        said.append(
            f"{gib(memory_bytes)} of memory asked for, about {gib(needs.memory_bytes)} are needed"
        )
    return "; ".join(said)


def _api_servers(group: ServerGroup) -> int | None:
    example = "--server-arg=--api-server-count=1"
    (text,) = last_values(group.setup.server_args, ("--api-server-count", "-asc"), example=example)
    return int(text) if text is not None and text.isdecimal() else None
