"""Actors and placement groups of a driver that died: found by the study's namespace, killed."""

import contextlib
import secrets
import time
from pathlib import Path

from catalog.errors import ClusterError
from orchestrator.host.files import publish_once

KILL_TIMEOUT_S = 40.0
POLL_S = 0.3


def namespace_of(root: Path) -> str:
    """Return the namespace of a results directory: made up once, the same on every resume."""
    path = root / "ray" / "namespace"
    path.parent.mkdir(exist_ok=True)
    publish_once(path, f"moeserve-{secrets.token_hex(8)}\n".encode())
    return path.read_text().strip()


def kill_stale_actors(namespace: str) -> int:
    """Kill the agents and placement groups of this namespace; return the number of agents.

    Nothing else in the cluster is touched.
    """
    import ray
    from ray.util import get_placement_group, placement_group_table, remove_placement_group

    actors = _actor_names(namespace)
    for name in actors:
        with contextlib.suppress(ValueError, ray.exceptions.RayError):
            ray.kill(ray.get_actor(name, namespace=namespace), no_restart=True)
    for group in placement_group_table().values():
        if group["name"].startswith(f"{namespace}.") and group["state"] != "REMOVED":
            with contextlib.suppress(ValueError):
                remove_placement_group(get_placement_group(group["name"]))
    deadline = time.monotonic() + KILL_TIMEOUT_S
    while _actor_names(namespace):
        if time.monotonic() > deadline:
            raise ClusterError(
                f"RAY_LEFTOVERS: agents of an earlier driver do not end: {', '.join(actors)}"
            )
        time.sleep(POLL_S)
    return len(actors)


def _actor_names(namespace: str) -> list[str]:
    import ray

    named = ray.util.list_named_actors(all_namespaces=True)
    return [each["name"] for each in named if each["namespace"] == namespace]
