"""Cut experts, and their width, out of a loaded model."""

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from catalog.errors import BadValue
from servers.huggingface.pruning.calibration import calibration_windows, expert_use
from servers.huggingface.pruning.options import PruneOptions
from servers.huggingface.quant.experts import PLAIN
from servers.huggingface.text import TextCodec
from strategies.pruning import EXPERTS, WIDTH, left_of

if TYPE_CHECKING:
    from torch import Tensor

Figures = dict[str, str | int | float]


def prune(model: Any, options: PruneOptions, codec: TextCodec) -> Figures:
    """Cut the model where it is, in host memory; return what was left out, for its details.

    Experts go layer by layer by their use in the whole model; then width, expert by expert.
    """
    blocks, kind = blocks_of(model), type(model).__name__
    before = parameters_of(model)
    figures: Figures = {}
    if options.experts is not None:
        context = int(model.config.max_position_embeddings)
        windows = calibration_windows(options.text, codec, context) if options.counted else None
        for block, kept in zip(blocks, kept_experts(model, blocks, options, windows), strict=True):
            keep_experts(block, kept)
        figures["experts_held"] = blocks[0].experts.num_experts
        figures["calibration_tokens"] = 0 if windows is None else windows.numel()
    if options.width is not None:
        width = blocks[0].experts.down_proj.shape[-1]
        left = left_of(width, options.width, least=1, what=WIDTH, of=kind)
        for block in blocks:
            keep_width(block.experts, left)
        figures["expert_width"] = left
    return {"pruned_share": 1 - parameters_of(model) / before, **figures}


def parameters_of(model: Any) -> int:
    return int(sum(parameter.numel() for parameter in model.parameters()))


def blocks_of(model: Any) -> list[Any]:
    """Return the layers' mixtures of experts, in order; refuse one that is not all understood."""
    found = [each for each in model.modules() if getattr(each, "experts", None) is not None]
    if not found or not all(map(is_plain, found)):
        allowed = (
            "a model whose layers have a plain router and stacked experts without biases "
            "(Mixtral, OLMoE, Qwen MoE)"
        )
        raise BadValue("technique prune-experts or prune-width", type(model).__name__, allowed)
    return found


def is_plain(block: Any) -> bool:
    """Whether a router is a matrix (E, H) and nothing else, its experts stacks of E."""
    experts, gate = block.experts, getattr(block, "gate", None)
    if gate is None or getattr(getattr(experts, "gate_up_proj", None), "ndim", 0) != 3:
        return False
    plain = all(getattr(experts, name, None) is value for name, value in PLAIN.items())
    state = gate.state_dict()
    alone = list(state) == ["weight"] and state["weight"].shape[0] == experts.num_experts
    # A router of groups of experts, and one that is told their number otherwise, cannot be cut.
    return plain and alone and gate.num_experts == experts.num_experts and hasattr(gate, "top_k")


def kept_experts(
    model: Any, blocks: list[Any], options: PruneOptions, windows: "Tensor | None"
) -> list["Tensor"]:
    """Return, by layer, which experts stay (K,), in their order; of equal ones the first."""
    assert options.experts is not None
    count, top_k = blocks[0].experts.num_experts, blocks[0].gate.top_k
    what = f"{EXPERTS} (top {top_k})"
    left = left_of(count, options.experts, least=top_k, what=what, of=type(model).__name__)
    if windows is None:
        scores = [block.gate.weight.detach().double().norm(dim=1).cpu() for block in blocks]
    else:
        scores = expert_use(model, blocks, windows, weighted=options.by == "weight")
    return [best_of(each, left) for each in scores]


def keep_experts(block: Any, kept: "Tensor") -> None:
    """Leave the other experts out, and their rows of the router."""
    experts, gate = block.experts, block.gate
    experts.gate_up_proj = cut(experts.gate_up_proj, kept)
    experts.down_proj = cut(experts.down_proj, kept)
    gate.weight = cut(gate.weight, kept)
    for part in (experts, gate, block):
        if hasattr(part, "num_experts"):
            part.num_experts = len(kept)


def keep_width(experts: Any, left: int) -> None:
    """Keep of each expert the `left` channels of largest norm, over gate, up and down together."""
    gate_up, down = experts.gate_up_proj.detach(), experts.down_proj.detach()
    gate, up = gate_up.chunk(2, dim=1)  # each (E, I, H); down is (E, H, I)
    norms = sum(each.double().square().sum(axis) for each, axis in ((gate, 2), (up, 2), (down, 1)))
    kept = torch.stack([best_of(each, left) for each in norms])  # (E, left)
    rows = kept[:, :, None].expand(-1, -1, gate.shape[2])
    narrow = torch.cat([gate.gather(1, rows), up.gather(1, rows)], dim=1)
    columns = kept[:, None, :].expand(-1, down.shape[1], -1)
    experts.gate_up_proj = nn.Parameter(narrow, requires_grad=False)
    experts.down_proj = nn.Parameter(down.gather(2, columns).contiguous(), requires_grad=False)
    experts.intermediate_dim = left


def best_of(scores: "Tensor", left: int) -> "Tensor":
    order = scores.argsort(descending=True, stable=True)
    return order[:left].sort().values


def cut(parameter: "Tensor", kept: "Tensor") -> nn.Parameter:
    return nn.Parameter(parameter.detach()[kept.to(parameter.device)], requires_grad=False)
