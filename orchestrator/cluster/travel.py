"""moeserve on the nodes: the same source as here, or ours travels there."""

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from orchestrator.cluster.nodes import Node

PACKAGES = ("orchestrator", "workloads", "perfmodel", "strategies", "catalog")
"""What an agent imports."""
LIMIT_S = 60.0


def folders() -> list[Path]:
    """Return where those packages are here."""
    specs = [find_spec(name) for name in PACKAGES]
    return [Path(spec.origin).parent for spec in specs if spec is not None and spec.origin]


def source_digest() -> str:
    """Hash every source file of the packages."""
    digest = hashlib.sha256()
    for folder in folders():
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{folder.name}/{path.relative_to(folder)}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def luggage() -> dict[str, list[str]]:
    """Return the runtime environment with which this source travels to the workers."""
    return {"py_modules": [str(folder) for folder in folders()]}


def lacking(nodes: Sequence[Node]) -> list[Node]:
    """Return the nodes on which moeserve is missing or another one than here."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(num_cpus=0, max_retries=0)(source_digest)
    asked = [
        ask.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        ).remote()
        for node in nodes
    ]
    ours = source_digest()
    return [node for node, answer in zip(nodes, asked, strict=True) if _answer(answer) != ours]


def _answer(reference: object) -> str | None:
    """Return what a node says; None when it cannot even load the question."""
    import ray

    try:
        digest: str = ray.get(reference, timeout=LIMIT_S)
    except ray.exceptions.RayError:
        return None
    return digest
