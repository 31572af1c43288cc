"""Take a loaded model's experts out into host memory and put the cache in their place."""

from typing import Any

import torch
from torch import nn

from catalog.errors import BadValue
from servers.huggingface.offload.cache import ExpertCache
from servers.huggingface.offload.costs import measure_costs
from servers.huggingface.offload.experts import (
    ExpertPredictor,
    OffloadedExperts,
    Residency,
    product,
)
from servers.huggingface.offload.options import OffloadOptions, slots_of
from servers.huggingface.offload.packed import PackedExperts, pack


def install(model: Any, options: OffloadOptions, *, device: str) -> Residency:
    """Replace every layer's experts; the rest of the model is then moved to the device.

    The model must still be in host memory, as one that does not fit the device has to be.
    """
    blocks = blocks_of(model)
    act = blocks[0].experts.act_fn
    int8 = options.experts == "int8"
    host = []
    for block in blocks:
        experts = block.experts
        host.append(
            pack(
                experts.gate_up_proj.detach(),
                experts.down_proj.detach(),
                int8=int8,
                pinned=device != "cpu",
            )
        )
        block.experts = nn.Identity()  # lets go of the stacked weights before the next layer
    slots = slots_of(
        options, layers=len(host), experts=host[0].count, expert_bytes=host[0].expert_bytes
    )
    arena = host[0].empty(slots, device)
    caches = caches_of(options, layers=len(host), slots=slots)
    residency = Residency(arena, host, caches, act, where=options.compute)
    if options.compute == "measured":
        residency.costs = measure_costs(
            host[0], arena, lambda store, row, tokens: product(store, row, tokens, act)
        )
    for layer, block in enumerate(blocks):
        last = layer + 1 == len(blocks)
        ahead = 0 if last else options.prefetch
        predictor = predictor_of(blocks[layer + 1], host[0].hidden) if ahead else None
        block.experts = OffloadedExperts(layer, residency, predictor=predictor, ahead=ahead)
    model.to(device)
    return residency


def blocks_of(model: Any) -> list[Any]:
    """Return the layers' mixtures of experts, in order; those transformers stacks."""
    found = [
        module
        for module in model.modules()
        if hasattr(module, "gate") and hasattr(getattr(module, "experts", None), "gate_up_proj")
    ]
    shaped = [each for each in found if each.experts.gate_up_proj.ndim == 3]
    if not shaped or any(hasattr(each.experts, "gate_up_proj_bias") for each in shaped):
        kind = type(model).__name__
        raise BadValue(
            "technique expert-offload",
            kind,
            "a model whose experts transformers stacks without biases (Mixtral, OLMoE, Qwen MoE)",
        )
    return shaped


def caches_of(options: OffloadOptions, *, layers: int, slots: int) -> list[ExpertCache]:
    """One cache a layer, each with its share of the arena, or one for all."""
    if not options.by_layer:
        return [ExpertCache(range(slots), options.cache)] * layers
    each = slots // layers
    return [
        ExpertCache(range(layer * each, (layer + 1) * each), options.cache)
        for layer in range(layers)
    ]


def predictor_of(block: Any, hidden: int) -> ExpertPredictor:
    """Apply a layer's router to the input of the layer before: most of the stream is shared."""
    gate = block.gate

    def predict(tokens: Any) -> Any:
        return gate(tokens)[-1]

    probed = predict(torch.zeros(1, hidden, dtype=gate.weight.dtype))
    if probed.ndim != 2 or probed.is_floating_point():
        kind = type(gate).__name__
        raise BadValue("knob prefetch", kind, "a router that returns the chosen experts last")
    return predict


def device_weight_bytes(model: Any, arena: PackedExperts) -> int:
    """Device memory for weights: what is not experts, and the arena."""
    return int(sum(parameter.nbytes for parameter in model.parameters())) + arena.nbytes
