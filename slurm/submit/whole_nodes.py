"""Whole nodes, where a site bills by them: what a task then holds, and groups packed onto one."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from catalog.errors import BadValue
from orchestrator.experiment.server_group import ServerGroup
from slurm.submit.options import SubmitOptions
from slurm.submit.submission import TaskSpec

EXCLUSIVE = "--exclusive"


def takes_whole_nodes(hardware: str, options: SubmitOptions) -> bool:
    """Whether tasks have their nodes alone: as asked, or by an option of sbatch's own.

    In the latter case only where it is known what a node is billed as.
    """
    return options.whole_nodes or (
        EXCLUSIVE in options.sbatch and hardware in options.gpus_per_node
    )


def gpus_of_a_node(hardware: str, options: SubmitOptions) -> int:
    """Return how many of these GPUs a whole node has; BadValue where the site does not say."""
    gpus = options.gpus_per_node.get(hardware)
    if gpus is None:
        allowed = f"with gpus: {{{hardware}: {{per_node: N}}}}, the GPUs that a node is billed by"
        raise BadValue("whole_nodes", "true", allowed)
    for option in options.sbatch:
        if option.startswith(f"{EXCLUSIVE}="):
            raise BadValue("sbatch", option, "no other --exclusive with whole_nodes")
    return gpus


def check_packable(options: SubmitOptions) -> None:
    """Refuse to pack in a container: the Ray that holds a node's groups is started by srun."""
    if options.container is not None:
        allowed = "none with --share-nodes: groups of one node run under a Ray that srun starts"
        raise BadValue("container", options.container.image, allowed)


def first_fit_decreasing(
    sizes: Sequence[int], capacity: int, seconds: Sequence[float]
) -> list[int]:
    """Return the bin of each item: the largest first, each into the first bin that holds it.

    Of equal size the longest goes first, so that those of like length share a bin: what a bin
    costs is its longest. At most 11/9 · the fewest bins + 6/9 (Dósa, 2007).
    """
    free: list[int] = []
    bins = [0] * len(sizes)
    for item in sorted(range(len(sizes)), key=lambda i: (-sizes[i], -seconds[i])):
        if sizes[item] > capacity:
            raise ValueError(f"{sizes[item]} do not fit into {capacity}")
        place = next((b for b, left in enumerate(free) if left >= sizes[item]), len(free))
        free += [capacity] * (place == len(free))
        free[place] -= sizes[item]
        bins[item] = place
    return bins


def packed(
    tasks: Sequence[TaskSpec], groups: Sequence[ServerGroup], node_gpus: int
) -> list[TaskSpec]:
    """Let groups share tasks of `node_gpus` each, all of a task's groups at the same time.

    Tasks are numbered in the order in which the plan first has a group of theirs: the earliest
    block is the first in the queue.
    """
    bins = first_fit_decreasing(
        [group.num_gpus or 0 for group in groups], node_gpus, [t.expected_s or 0.0 for t in tasks]
    )
    number = {place: index for index, place in enumerate(dict.fromkeys(bins))}
    return [
        msgspec.structs.replace(task, index=number[place])
        for task, place in zip(tasks, bins, strict=True)
    ]


def told_of_nodes(
    tasks: Sequence[TaskSpec], groups: Sequence[ServerGroup], node_gpus: int, nodes: int
) -> str:
    """Say how many GPUs of the nodes that are billed servers use, and what packing does to them."""
    used, count = sum(group.num_gpus or 0 for group in groups), len(tasks) * nodes
    if any(task.index is not None for task in tasks):
        beside = Counter(task.index for task in tasks)
        told = f"whole nodes: {len(tasks)} groups in {len(beside)} tasks of {node_gpus} GPUs, "
        told += f"{used} of {len(beside) * node_gpus} used"
        if max(beside.values()) == 1:
            return f"{told}, each group alone on its node"
        return (
            f"{told}, up to {max(beside.values())} groups beside each other: they share a node's "
            "memory, CPUs and links, which each run says (co_located_groups, node_shared)"
        )
    told = f"whole nodes: {count} of {node_gpus} GPUs each are billed, and {used} of their "
    told += f"{count * node_gpus} GPUs used"
    together = packed(tasks, groups, node_gpus) if nodes == 1 else []
    fewer = len({task.index for task in together})
    if not together or fewer == count:
        return told
    return f"{told}; --share-nodes takes {fewer}, where servers share memory, CPUs and links"
