"""moeserve on the nodes: the same source as here, or this source in the runtime environment."""

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from orchestrator.host.nodes import Node

PACKAGES = ("orchestrator", "workloads", "perfmodel", "strategies", "catalog")
"""What an agent imports."""
TIMEOUT_S = 60.0


def package_folders() -> list[Path]:
    """Return the folders of those packages."""
    specs = [find_spec(name) for name in PACKAGES]
    return [Path(spec.origin).parent for spec in specs if spec is not None and spec.origin]


def source_digest() -> str:
    """Hash every source file of the packages."""
    digest = hashlib.sha256()
    for folder in package_folders():
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{folder.name}/{path.relative_to(folder)}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def runtime_env() -> dict[str, list[str]]:
    """Return the runtime environment that brings this source to the workers."""
    return {"py_modules": [str(folder) for folder in package_folders()]}


def nodes_without_source(nodes: Sequence[Node]) -> list[Node]:
    """Return the nodes on which moeserve is missing or its source differs."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote_digest = ray.remote(num_cpus=0, max_retries=0)(source_digest)
    references = [
        remote_digest.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        ).remote()
        for node in nodes
    ]
    own = source_digest()
    return [
        node for node, reference in zip(nodes, references, strict=True) if _digest(reference) != own
    ]


def _digest(reference: object) -> str | None:
    """Return a node's digest; None when it cannot import the function."""
    import ray

    try:
        digest: str = ray.get(reference, timeout=TIMEOUT_S)
    except ray.exceptions.RayError:
        return None
    return digest
