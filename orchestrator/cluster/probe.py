"""`python -m orchestrator.cluster.probe HOST:PORT`: its nodes as JSON, if the head lets us in.

A process of its own, because Ray reads its token once in a process, and because it writes what it
thinks of a wrong one to standard error.
"""

import json
import sys
from importlib import import_module

TIMEOUT_S = 8.0
REFUSED, SILENT = 10, 11


def main(address: str) -> int:
    """Print an empty line, and the nodes that live; return 0, or why there are none to print."""
    import ray

    # A compiled module: what is in it is known at run time only.
    gcs = import_module("ray._raylet")
    sys.stdout.write("\n")  # asking begins; how long Ray takes to import says nothing of the head
    sys.stdout.flush()
    try:
        found = gcs.GcsClient(address=address).get_all_node_info(timeout=TIMEOUT_S)
    except ray.exceptions.AuthenticationError:
        return REFUSED
    except (ray.exceptions.RpcError, ray.exceptions.RayError, RuntimeError) as error:
        sys.stderr.write(f"{error}\n")
        return SILENT
    nodes = [
        {
            "node_id": node_id.hex(),
            "name": info.node_name,
            "address": info.node_manager_address,
            "resources": dict(info.resources_total),
            "labels": dict(info.labels),
        }
        for node_id, info in found.items()
        if info.state == info.ALIVE
    ]
    sys.stdout.write(json.dumps({"ray": ray.__version__, "nodes": nodes}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
