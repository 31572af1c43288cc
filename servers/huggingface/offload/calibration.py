"""What a short text says of each layer: how much the loss feels its experts, and which are used."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from catalog.errors import BadValue

WINDOWS, WINDOW_TOKENS = 8, 64
LEAST_TOKENS = WINDOW_TOKENS
ALONE = 1e-4
"""A first expert with all of the weight but this has no second whose absence could be felt."""


@dataclass(slots=True)
class LayerTrace:
    """One layer's share in the calibration text of T tokens."""

    chosen: Tensor
    """(T, k), text by text in order."""
    weights: Tensor
    direction: Tensor
    """(T, H): what the output gains if the first expert takes the others' whole weight."""
    output: Tensor
    """(T, H), with its gradient once the loss has been propagated."""

    @property
    def sensitivity(self) -> float:
        """S: the mean of (g · d)², twice the second order of the loss's growth for 1 − α = 1.

        ΔL ≈ ½ (1 − α)² dᵀ H d with the Fisher information g gᵀ of each token in the Hessian's
        place, as AdapMoE (arXiv 2408.10284, section 4) has it; d = E₁ − E₂ for two experts. The
        first order vanishes in the mean where a model has learned.
        """
        gradient = self.output.grad
        assert gradient is not None
        felt = (gradient.float() * self.direction.float()).sum(-1)
        return float(felt.square().mean())


def calibrate(model: Any, blocks: Sequence[Any], tokens: Sequence[int]) -> list[LayerTrace]:
    """Run a text through a whole model in host memory, forth and back; one trace a layer.

    Gradients of activations alone are kept; the weights' own, as large as the model, are not.
    """
    windows = windows_of(tokens)
    traces: list[list[LayerTrace]] = [[] for _ in blocks]
    hooks = [
        block.experts.register_forward_hook(_tracing(into), with_kwargs=True)
        for block, into in zip(blocks, traces, strict=True)
    ]
    hooks.append(
        model.get_input_embeddings().register_forward_hook(
            lambda _module, _args, out: out.requires_grad_()
        )
    )
    trained = [each for each in model.parameters() if each.requires_grad]
    model.requires_grad_(False)
    try:
        for window in windows:
            loss = model(window, labels=window, use_cache=False).loss
            (loss * (window.shape[1] - 1)).backward()
    finally:
        for hook in hooks:
            hook.remove()
        for each in trained:
            each.requires_grad_()
    return [_joined(each) for each in traces]


def sensitivities(traces: Sequence[LayerTrace]) -> list[float]:
    """Return S by layer over the largest, 0 to 1; refuse a text that no layer feels."""
    found = [trace.sensitivity for trace in traces]
    most = max(found)
    if not most > 0:
        raise BadValue("knob skip", "a text that no layer feels", "a text the model can predict")
    return [each / most for each in found]


def windows_of(tokens: Sequence[int]) -> list[Tensor]:
    """Cut the first tokens into whole windows (1, L)."""
    count = min(WINDOWS, len(tokens) // WINDOW_TOKENS)
    if not count:
        raise BadValue(
            "--calibration", f"{len(tokens)} tokens", f"a text of {LEAST_TOKENS} tokens or more"
        )
    return [
        torch.tensor([tokens[at * WINDOW_TOKENS : (at + 1) * WINDOW_TOKENS]]) for at in range(count)
    ]


def _tracing(into: list[LayerTrace]) -> Callable[..., None]:
    def trace(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
        names = ("hidden_states", "top_k_index", "top_k_weights")
        given = [*args, *(kwargs[name] for name in names if name in kwargs)]
        hidden, chosen, weights = given
        with torch.no_grad():
            direction = _direction(module, hidden, chosen, weights, output)
        output.retain_grad()
        into.append(LayerTrace(chosen, weights.detach(), direction, output))

    return trace


def _direction(
    module: Any, hidden: Tensor, chosen: Tensor, weights: Tensor, output: Tensor
) -> Tensor:
    """d of y(first alone) = y + (1 − α) d, for each token; 0 for tokens with one expert."""
    total = weights.sum(-1, keepdim=True)
    first = weights.argmax(-1, keepdim=True)
    # `forward` and not a call: this is no pass of the model, which the hooks would trace again.
    alone = module.forward(hidden, chosen.gather(-1, first), total)
    others = 1 - weights.gather(-1, first) / total
    return torch.where(others > ALONE, (alone - output) / others, torch.zeros_like(output))


def _joined(parts: Sequence[LayerTrace]) -> LayerTrace:
    output = torch.cat([part.output.detach() for part in parts])
    output.grad = torch.cat([part.output.grad for part in parts if part.output.grad is not None])
    return LayerTrace(
        torch.cat([part.chosen for part in parts]),
        torch.cat([part.weights for part in parts]),
        torch.cat([part.direction for part in parts]),
        output,
    )
