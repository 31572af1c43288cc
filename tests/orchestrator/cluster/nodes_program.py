"""Run a Ray cluster of several nodes in one process tree; told what to do through a Unix socket.

`nodes_program.py FOLDER SLOWNESS NODES` writes FOLDER/address once it is up. A line on
FOLDER/socket is `add NAME`, `remove NAME`, `freeze NAME` and `thaw NAME` (SIGSTOP and SIGCONT to
all of the node), `head`, which ends the head, or `freeze-head`. Every node has four GPUs that are
made up.
"""

import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from ray.cluster_utils import Cluster

STORE_BYTES = 80 << 20


def health(slowness: float) -> dict[str, int]:
    """Find a lost node out soon, and lose none on a busy machine, where answers are late."""
    return {
        "health_check_initial_delay_ms": 0,
        "health_check_period_ms": 500,
        "health_check_timeout_ms": round(1000 * slowness),
        "health_check_failure_threshold": 3,
    }


def add(cluster: Cluster, name: str, kind: str = "A100") -> object:
    return cluster.add_node(
        wait=False,
        num_cpus=8,
        num_gpus=4,
        node_name=name,
        object_store_memory=STORE_BYTES,
        resources={f"accelerator_type:{kind}": 1},
    )


def raylet_of(node: Any) -> int:
    pid: int = node.all_processes["raylet"][0].process.pid
    return pid


def tell(pid: int, word: str) -> None:
    """Stop a process and all that it started, parents first, or let them go on."""
    first = psutil.Process(pid)
    for process in (first, *first.children(recursive=True)):
        process.send_signal(signal.SIGSTOP if word == "freeze" else signal.SIGCONT)


def main(folder: Path, slowness: float, names: list[str]) -> None:
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "num_gpus": 0,
            "node_name": "head",
            "include_dashboard": False,
            "object_store_memory": STORE_BYTES,
            "_system_config": health(slowness),
        },
    )
    nodes = {name: add(cluster, name) for name in names}
    cluster.wait_for_nodes()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket"))
        listening.listen()
        (folder / "address.part").write_text(cluster.address)
        (folder / "address.part").rename(folder / "address")
        while True:
            with listening.accept()[0] as caller:
                word, _, name = caller.recv(200).decode().partition(" ")
                if word == "add":
                    nodes[name] = add(cluster, name)
                    cluster.wait_for_nodes()
                elif word == "remove":
                    cluster.remove_node(nodes.pop(name), allow_graceful=False)
                elif word in ("freeze", "thaw"):
                    tell(raylet_of(nodes[name]), word)
                elif word == "freeze-head":
                    tell(cluster.head_node.all_processes["gcs_server"][0].process.pid, "freeze")
                elif word == "head":
                    cluster.head_node.kill_gcs_server(check_alive=False)
                time.sleep(0.1)
                caller.sendall(b"done")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
