"""When an agent has been given up: a node that was frozen and goes on is told nothing by Ray."""

import os
import threading
import time
from collections.abc import Callable

from orchestrator.cluster.connection import RAY_TIMEOUT_S, alive_nodes, call_with_timeout

QUIET_S = 15.0
"""A driver asks for events all the time; an agent that hears nothing for so long looks around."""
GONE_S = 600.0
"""After so long without a word no driver comes back, whatever Ray says, or does not say."""
PERIOD_S = 2.0


def abandoned(quiet_s: float, counted_out: Callable[[], bool]) -> bool:
    """Whether nobody will come back to an agent that was last called `quiet_s` ago.

    `counted_out` says whether the cluster takes this node for dead: its driver has then gone on
    elsewhere, with this server still on its GPUs.
    """
    return quiet_s > GONE_S or (quiet_s > QUIET_S and counted_out())


def end_if_abandoned(quiet_s: Callable[[], float], node_id: str) -> None:
    """End this process, from a thread, once it is abandoned; its supervisor ends the server."""

    def watch() -> None:
        while not abandoned(quiet_s(), lambda: _counted_out(node_id)):
            time.sleep(PERIOD_S)
        os._exit(1)  # the worker may be stuck in Ray, which has forgotten it

    threading.Thread(target=watch, daemon=True).start()


def _counted_out(node_id: str) -> bool:
    alive = call_with_timeout(RAY_TIMEOUT_S, alive_nodes)
    return bool(alive) and node_id not in {node.node_id for node in alive or ()}
