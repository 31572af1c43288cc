"""What a driver that died has left in a cluster: found by the study's namespace, and ended."""

import contextlib
import secrets
import time
from pathlib import Path

from catalog.errors import ClusterError
from orchestrator.files import publish_once

CLEAN_S = 40.0
LOOK_S = 0.3


def namespace_of(root: Path) -> str:
    """Return the namespace of a results directory: made up once, the same on every resume."""
    path = root / "ray" / "namespace"
    path.parent.mkdir(exist_ok=True)
    publish_once(path, f"moeserve-{secrets.token_hex(8)}\n".encode())
    return path.read_text().strip()


def clean(namespace: str) -> int:
    """End the agents and placement groups of this namespace; return how many agents there were.

    Anything else in the cluster is somebody else's.
    """
    import ray
    from ray.util import get_placement_group, placement_group_table, remove_placement_group

    agents = _agents(namespace)
    for name in agents:
        with contextlib.suppress(ValueError, ray.exceptions.RayError):
            ray.kill(ray.get_actor(name, namespace=namespace), no_restart=True)
    for group in placement_group_table().values():
        if group["name"].startswith(f"{namespace}.") and group["state"] != "REMOVED":
            with contextlib.suppress(ValueError):
                remove_placement_group(get_placement_group(group["name"]))
    deadline = time.monotonic() + CLEAN_S
    while _agents(namespace):
        if time.monotonic() > deadline:
            raise ClusterError(
                f"RAY_LEFTOVERS: agents of an earlier driver do not end: {', '.join(agents)}"
            )
        time.sleep(LOOK_S)
    return len(agents)


def _agents(namespace: str) -> list[str]:
    import ray

    named = ray.util.list_named_actors(all_namespaces=True)
    return [each["name"] for each in named if each["namespace"] == namespace]
