"""One GPU's budget when some of its weights stay in host memory. All of these are estimates."""

from dataclasses import replace

from perfmodel.memory import Memory


def any_offloaded(budget: Memory, host_bytes: float) -> Memory:
    """Leave this many bytes on the host, of whichever weights: taken evenly from all."""
    share = min(1.0, host_bytes / budget.weight_bytes)
    return replace(
        budget,
        replicated_bytes=budget.replicated_bytes * (1 - share),
        expert_bytes=budget.expert_bytes * (1 - share),
    )


def offloaded_layers(layers: int, *, group: int, last: int) -> int:
    """Count the layers that vLLM leaves on the host: of each `group` the `last` ones."""
    return sum(layer % group >= group - last for layer in range(layers))


def layers_offloaded(budget: Memory, *, group: int, last: int, ahead: int) -> Memory:
    """Leave whole layers on the host and keep room for those fetched `ahead`, as vLLM does.

    With n of N layers on the host, M = M_ends + M_layers (N − n + ahead) / N; n = 0 changes
    nothing. vLLM allocates all the `ahead` buffers however few layers are offloaded
    (`PrefetchOffloader`). Layers count as alike, which those of DeepSeek, first dense, are not.
    """
    count = offloaded_layers(budget.layers, group=group, last=last)
    share = (count - ahead) / budget.layers if count else 0.0
    return replace(
        budget,
        replicated_bytes=budget.replicated_bytes - share * budget.layered_bytes,
        expert_bytes=budget.expert_bytes * (1 - share),
        layered_bytes=budget.layered_bytes * (1 - share),
    )


def experts_cached(budget: Memory, cache_bytes: float) -> Memory:
    """Hold a cache of experts instead of all of them."""
    return replace(budget, expert_bytes=cache_bytes)
