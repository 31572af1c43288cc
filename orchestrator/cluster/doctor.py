"""`moeserve doctor --ray`: every node of a cluster, and what does not go together."""

from collections.abc import Iterator, Sequence
from typing import Any

from catalog.from_hf import load_model
from orchestrator.cluster import inspect_node
from orchestrator.cluster.access import check_access
from orchestrator.cluster.connection import alive_nodes, connected
from orchestrator.cluster.inspect_node import NodeReport
from orchestrator.cluster.runtime_env import nodes_without_source
from orchestrator.experiment.ray_options import RayOptions
from orchestrator.host.nodes import Node
from orchestrator.results.record import ColumnValue

TIMEOUT_S = 60.0
MUST_MATCH = ("python", "ray", "vllm", "torch")


async def examine(options: RayOptions, models: Sequence[str]) -> list[dict[str, ColumnValue]]:
    """Return a row for each node: its versions, and its problems."""
    access = await check_access(options)
    names = [load_model(name).hf_id or name for name in models]
    with connected(access, namespace="moeserve-doctor"):
        nodes = alive_nodes()
        reports = _reports(nodes, names)
        lacking = {node.node_id for node in nodes_without_source(nodes)}
    return [
        {
            "node": node.name,
            "address": node.address,
            "gpus": node.gpus,
            "gpu_type": node.accelerator_type,
            **{name: _text(report.get(name)) for name in MUST_MATCH},
            "moeserve": "travels there" if node.node_id in lacking else "same as here",
            "problems": "; ".join(problems(node, report, nodes, reports)),
        }
        for node, report in zip(nodes, reports, strict=True)
    ]


def problems(
    node: Node, report: NodeReport, nodes: Sequence[Node], reports: Sequence[NodeReport]
) -> Iterator[str]:
    """Yield what keeps a node from serving, or from serving together with the others."""
    if not report:
        yield f"no answer within {TIMEOUT_S:.0f} s"
        return
    if node.gpus and not report["vllm"]:
        yield "no vLLM: pip install 'moeserve[vllm]' there"
    for name in MUST_MATCH:
        # A head without GPUs serves nothing: it may lack what the others have.
        kinds = {str(a[name]) for n, a in zip(nodes, reports, strict=True) if a and a[name]}
        if report[name] and len(kinds) > 1:
            yield f"{name} differs: {', '.join(sorted(kinds))} in this cluster"
    for name, what in (("unreachable", "cannot reach"), ("missing_models", "no files of")):
        listed = report[name]
        if isinstance(listed, list) and listed and (node.gpus or name == "unreachable"):
            yield f"{what} {', '.join(listed)}"


def _reports(nodes: Sequence[Node], models: Sequence[str]) -> list[NodeReport]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ray.cloudpickle.register_pickle_by_value(inspect_node)
    inspect = ray.remote(num_cpus=0, max_retries=0)(inspect_node.node_report)
    others = [(node.name, node.address, node.port) for node in nodes]
    references = [
        inspect.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        ).remote(models, others)
        for node in nodes
    ]
    return [_report(each) for each in references]


def _report(reference: Any) -> NodeReport:
    import ray

    try:
        report: NodeReport = ray.get(reference, timeout=TIMEOUT_S)
    except ray.exceptions.RayError:
        return {}
    return report


def _text(value: object) -> str | None:
    return None if value is None else str(value)
