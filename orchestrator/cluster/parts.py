"""vLLM's own arguments for a layout over several nodes: one server, a part of it on each."""

from collections.abc import Sequence
from itertools import pairwise

from strategies.layout import Layout


def part_args(
    layout: Layout, gpus_by_node: Sequence[int], index: int, *, head: str, port: int
) -> tuple[str, ...]:
    """Return the arguments of the part on node `index`; the first answers, the rest are headless.

    Whole replicas are data-parallel ranks started by node; one replica over several nodes is
    vLLM's multi-node executor. `head` and `port` are where the parts meet.
    """
    if len(gpus_by_node) == 1:
        return ()
    headless = ("--headless",) if index else ()
    replica = layout.tp * layout.pp
    if gpus_by_node[0] >= replica:
        ranks = [gpus // replica for gpus in gpus_by_node]
        start = ("--data-parallel-start-rank", str(sum(ranks[:index]))) if index else ()
        return (
            *("--data-parallel-size-local", str(ranks[index])),
            *("--data-parallel-address", head, "--data-parallel-rpc-port", str(port)),
            *headless,
            *start,
        )
    return (
        *("--nnodes", str(len(gpus_by_node)), "--node-rank", str(index)),
        *("--master-addr", head, "--master-port", str(port)),
        *headless,
    )


def uses_ray_executor(arguments: Sequence[str]) -> bool:
    """Say whether the user's own arguments leave the placing of ranks to vLLM's Ray executor."""
    flag = "--distributed-executor-backend"
    return f"{flag}=ray" in arguments or (flag, "ray") in pairwise(arguments)
