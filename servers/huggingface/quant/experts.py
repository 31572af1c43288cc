"""Stacked experts taken apart into linear layers, which is what quantisation libraries know."""

from typing import TYPE_CHECKING, Any

from torch import nn

from catalog.errors import BadValue

if TYPE_CHECKING:
    from torch import Tensor

PLAIN = {"has_gate": True, "has_bias": False, "is_transposed": False, "is_concatenated": True}
"""What transformers says of experts that compute down(act(gate x) * up x)."""


class LinearExperts(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """Takes the place of a layer's stacked `experts`; same arguments, same result."""

    def __init__(self, stacked: Any) -> None:
        super().__init__()
        self.act = stacked.act_fn
        self.gate_up = nn.ModuleList(map(linear_of, stacked.gate_up_proj.detach()))
        self.down = nn.ModuleList(map(linear_of, stacked.down_proj.detach()))

    def forward(self, hidden: "Tensor", chosen: "Tensor", weights: "Tensor") -> "Tensor":
        import torch

        output = torch.zeros_like(hidden)
        for expert in chosen.unique().tolist():
            place, tokens = torch.where((chosen == expert).T)
            gate, up = self.gate_up[expert](hidden[tokens]).chunk(2, dim=-1)
            result = self.down[expert](self.act(gate) * up) * weights[tokens, place, None]
            output.index_add_(0, tokens, result.to(output.dtype))
        return output


def linear_of(weight: "Tensor") -> nn.Linear:
    """Wrap a matrix (out, in) without a copy."""
    out_features, in_features = weight.shape
    layer = nn.Linear(in_features, out_features, bias=False, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    return layer


def unstack(model: Any, scheme: str) -> None:
    """Replace every stack of experts by linear layers that share its memory."""
    from transformers.integrations.moe import _default_apply_gate

    for module in list(model.modules()):
        experts: Any = getattr(module, "experts", None)
        if getattr(getattr(experts, "gate_up_proj", None), "ndim", 0) != 3:
            continue
        plain = all(getattr(experts, name, None) is value for name, value in PLAIN.items())
        if not plain or type(experts)._apply_gate is not _default_apply_gate:
            raise refusal(model, scheme)
        module.experts = LinearExperts(experts)


def refusal(model: Any, scheme: str) -> BadValue:
    allowed = "a model whose experts can be quantised (Mixtral, OLMoE, Qwen MoE, …)"
    return BadValue(f"technique {scheme}", type(model).__name__, allowed)
