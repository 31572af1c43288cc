"""vLLM's own arguments for a layout over several nodes: one server, a part of it on each."""

from collections.abc import Sequence
from itertools import pairwise

from strategies.layout import Layout


def multinode_args(
    layout: Layout, gpus_by_node: Sequence[int], node_rank: int, *, head: str, port: int
) -> tuple[str, ...]:
    """Return the arguments of node `node_rank`: the first serves HTTP, the rest are headless.

    Whole replicas are data-parallel ranks started by node; one replica over several nodes is
    vLLM's multi-node executor. `head` and `port` are the rendezvous address.
    """
    if len(gpus_by_node) == 1:
        return ()
    headless = ("--headless",) if node_rank else ()
    replica = layout.tp * layout.pp
    if gpus_by_node[0] >= replica:
        ranks = [gpus // replica for gpus in gpus_by_node]
        start = ("--data-parallel-start-rank", str(sum(ranks[:node_rank]))) if node_rank else ()
        return (
            *("--data-parallel-size-local", str(ranks[node_rank])),
            *("--data-parallel-address", head, "--data-parallel-rpc-port", str(port)),
            *headless,
            *start,
        )
    return (
        *("--nnodes", str(len(gpus_by_node)), "--node-rank", str(node_rank)),
        *("--master-addr", head, "--master-port", str(port)),
        *headless,
    )


def uses_ray_executor(arguments: Sequence[str]) -> bool:
    """Return whether the user's arguments choose vLLM's Ray executor, which places the ranks."""
    flag = "--distributed-executor-backend"
    return f"{flag}=ray" in arguments or (flag, "ray") in pairwise(arguments)
