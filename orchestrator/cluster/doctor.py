"""`moeserve doctor --ray`: every node of a cluster, and what does not go together."""

from collections.abc import Iterator, Sequence
from typing import Any

from catalog.from_hf import load_model
from orchestrator.cluster import look
from orchestrator.cluster.access import access
from orchestrator.cluster.connection import connected, living_nodes
from orchestrator.cluster.look import Answer
from orchestrator.cluster.nodes import Node
from orchestrator.cluster.options import RayOptions
from orchestrator.cluster.travel import lacking
from orchestrator.table import Value

LIMIT_S = 60.0
ALIKE = ("python", "ray", "vllm", "torch")


async def examine(options: RayOptions, models: Sequence[str]) -> list[dict[str, Value]]:
    """Return a row for each node: what it has, and what is wrong with it."""
    entered = await access(options)
    names = [load_model(name).hf_id or name for name in models]
    with connected(entered, namespace="moeserve-doctor"):
        nodes = living_nodes()
        answers = _answers(nodes, names)
        without = {node.node_id for node in lacking(nodes)}
    return [
        {
            "node": node.name,
            "address": node.address,
            "gpus": node.gpus,
            "gpu_type": node.kind,
            **{name: _text(answer.get(name)) for name in ALIKE},
            "moeserve": "travels there" if node.node_id in without else "same as here",
            "problems": "; ".join(problems(node, answer, nodes, answers)),
        }
        for node, answer in zip(nodes, answers, strict=True)
    ]


def problems(
    node: Node, answer: Answer, nodes: Sequence[Node], answers: Sequence[Answer]
) -> Iterator[str]:
    """Yield what keeps a node from serving, or from serving together with the others."""
    if not answer:
        yield f"no answer within {LIMIT_S:.0f} s"
        return
    if node.gpus and not answer["vllm"]:
        yield "no vLLM: pip install 'moeserve[vllm]' there"
    for name in ALIKE:
        # A head without GPUs serves nothing: it may lack what the others have.
        kinds = {str(a[name]) for n, a in zip(nodes, answers, strict=True) if a and a[name]}
        if answer[name] and len(kinds) > 1:
            yield f"{name} differs: {', '.join(sorted(kinds))} in this cluster"
    for name, what in (("unreachable", "cannot reach"), ("missing_models", "no files of")):
        listed = answer[name]
        if isinstance(listed, list) and listed and (node.gpus or name == "unreachable"):
            yield f"{what} {', '.join(listed)}"


def _answers(nodes: Sequence[Node], models: Sequence[str]) -> list[Answer]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ray.cloudpickle.register_pickle_by_value(look)
    ask = ray.remote(num_cpus=0, max_retries=0)(look.look)
    others = [(node.name, node.address, node.port) for node in nodes]
    asked = [
        ask.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        ).remote(models, others)
        for node in nodes
    ]
    return [_answer(each) for each in asked]


def _answer(reference: Any) -> Answer:
    import ray

    try:
        answer: Answer = ray.get(reference, timeout=LIMIT_S)
    except ray.exceptions.RayError:
        return {}
    return answer


def _text(value: object) -> str | None:
    return None if value is None else str(value)
