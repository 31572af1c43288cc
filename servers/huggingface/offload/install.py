"""Take a loaded model's experts out into host memory and put the cache in their place."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from catalog.errors import BadValue
from servers.huggingface.offload.cache import ExpertCache
from servers.huggingface.offload.calibration import LayerTrace, calibrate, sensitivities
from servers.huggingface.offload.costs import measure_costs
from servers.huggingface.offload.experts import (
    ExpertPredictor,
    OffloadedExperts,
    Residency,
    product,
)
from servers.huggingface.offload.gating import NOBODY, SkipRule
from servers.huggingface.offload.options import OffloadOptions, slots_of
from servers.huggingface.offload.packed import PackedExperts, pack
from servers.huggingface.offload.split import misses_by_size, split_slots


def install(
    model: Any, options: OffloadOptions, *, device: str, text: Sequence[int] = ()
) -> Residency:
    """Replace every layer's experts; the rest of the model is then moved to the device.

    The model must still be in host memory, as one that does not fit the device has to be. `text`:
    the tokens that calibrate, where the options ask for that.
    """
    blocks = blocks_of(model)
    traces = calibrate(model, blocks, text) if options.calibrated else []
    rule = SkipRule(options.skip, sensitivities(traces)) if options.skip else None
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
    sizes = sizes_of(options, traces, rule, slots=slots, layers=len(host), experts=host[0].count)
    caches = caches_of(options, sizes, layers=len(host))
    residency = Residency(arena, host, caches, act, where=options.compute, rule=rule)
    if options.compute == "measured":
        residency.costs = measure_costs(
            host[0], arena, lambda store, row, tokens: product(store, row, tokens, act)
        )
    for layer, block in enumerate(blocks):
        later = blocks[layer + 1 : layer + 1 + options.ahead] if options.prefetch else []
        predictors = [predictor_of(each, host[0].hidden) for each in later]
        block.experts = OffloadedExperts(
            layer, residency, predictors=predictors, prefetch=options.prefetch
        )
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


def sizes_of(
    options: OffloadOptions,
    traces: Sequence[LayerTrace],
    rule: SkipRule | None,
    *,
    slots: int,
    layers: int,
    experts: int,
) -> list[int]:
    """Return the arena's parts: one for all layers, equal ones, or those a text makes worth while.

    What the rule leaves out of the text does not count as used.
    """
    if not options.by_layer:
        return [slots]
    if options.split == "none":
        return [slots // layers] * layers
    misses = []
    for layer, trace in enumerate(traces):
        chosen = trace.chosen
        if rule is not None:
            chosen = chosen.masked_fill(rule.spared(layer, trace.weights), NOBODY)
        uses = [expert for expert in chosen.flatten().tolist() if expert != NOBODY]
        misses.append(misses_by_size(uses, experts))
    return split_slots(misses, min(slots, layers * experts))


def caches_of(options: OffloadOptions, sizes: Sequence[int], *, layers: int) -> list[ExpertCache]:
    """One cache a layer, each with its part of the arena, or one for all."""
    if not options.by_layer:
        return [ExpertCache(range(sizes[0]), options.cache)] * layers
    ends = list(itertools.accumulate(sizes))
    return [
        ExpertCache(range(end - size, end), options.cache)
        for end, size in zip(ends, sizes, strict=True)
    ]


def predictor_of(block: Any, hidden: int) -> ExpertPredictor:
    """Apply a layer's router to the input of a layer before: most of the stream is shared."""
    gate = block.gate

    def predict(tokens: Any) -> Any:
        *_, weights, chosen = gate(tokens)
        return chosen, weights

    guessed = gate(torch.zeros(1, hidden, dtype=gate.weight.dtype))
    chosen = guessed[-1]
    if chosen.ndim != 2 or chosen.is_floating_point() or guessed[-2].shape != chosen.shape:
        kind = type(gate).__name__
        raise BadValue("knob prefetch", kind, "a router that returns the chosen experts last")
    return predict


def device_weight_bytes(model: Any, arena: PackedExperts) -> int:
    """Device memory for weights: what is not experts, and the arena."""
    return int(sum(parameter.nbytes for parameter in model.parameters())) + arena.nbytes
