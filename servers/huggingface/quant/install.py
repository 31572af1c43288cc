"""Quantise a loaded model, and say how much of it that was."""

from typing import Any

from torch import nn

from servers.huggingface.quant.experts import refusal, unstack
from servers.huggingface.quant.libraries import BY_LIBRARY
from servers.huggingface.quant.options import QuantOptions


def install(model: Any, options: QuantOptions, *, device: str) -> float:
    """Quantise every linear layer but routers and head; return the share of the parameters.

    The model must still be in host memory: each layer is quantised onto the device by itself.
    """
    total = int(sum(parameter.numel() for parameter in model.parameters()))
    unstack(model, options.scheme)
    chosen = linears_of(model)
    if leftover_experts(model, chosen):
        raise refusal(model, options.scheme)
    options.check_widths({layer.in_features for layer in chosen.values()}, type(model).__name__)
    quantise, quantised = BY_LIBRARY[options.library], 0
    for name in list(chosen):
        layer = chosen.pop(name)  # nothing else holds on to what it was made of
        quantised += layer.in_features * layer.out_features
        model.set_submodule(name, quantise(layer, options, device))
    # New layers are in training mode, in which bitsandbytes computes otherwise.
    model.to(device).eval()
    return quantised / total


def linears_of(model: Any) -> dict[str, nn.Linear]:
    """Return linear layers by name, experts' included, without routers and the output head."""
    head = model.get_output_embeddings()
    return {
        name: module
        for name, module in model.named_modules()
        if type(module) is nn.Linear and module is not head and not name.endswith("gate")
    }


def leftover_experts(model: Any, chosen: dict[str, nn.Linear]) -> list[str]:
    """Return modules of experts that hold matrices and would not be quantised."""
    return [
        name
        for name, module in model.named_modules()
        if "experts" in name.split(".")
        and name not in chosen
        and any(parameter.ndim > 1 for parameter in module.parameters(recurse=False))
    ]
