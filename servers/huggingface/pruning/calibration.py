"""How much each expert is used on a text, before any of them goes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from catalog.errors import BadValue
from servers.huggingface.corpus import help_topics
from servers.huggingface.text import TextCodec
from workloads.quality.windows import read_text, windows_of

if TYPE_CHECKING:
    from torch import Tensor

TOKENS, WINDOW = 8192, 512
CHARACTERS = 8 * TOKENS
"""Of a text at most: what is beyond would be tokens beyond."""


def calibration_windows(text: str | None, codec: TextCodec, context: int) -> "Tensor":
    """Cut the first 8,192 tokens of a file, or of Python's help topics, into windows (W, L)."""
    import torch

    words = help_topics() if text is None else read_text(text)
    try:
        tokens = codec.encode(words[:CHARACTERS], special=False)
    except BadValue:
        allowed = "by=router, which reads no text: this model has no tokenizer"
        raise BadValue("technique prune-experts", "by use of experts on a text", allowed) from None
    if len(tokens) < 2:
        raise BadValue("text to prune by", text, "a text of 2 tokens or more")
    window = min(WINDOW, context, len(tokens))
    return torch.from_numpy(windows_of(tokens, window=window, limit=TOKENS).astype("int64"))


def expert_use(
    model: Any, blocks: Sequence[Any], windows: "Tensor", *, weighted: bool
) -> list["Tensor"]:
    """Return, by layer, the tokens that chose each expert (E,), or the sum of their weights.

    «SEER-MoE» (arXiv 2404.05089) calls them actual and soft counts.
    """
    import torch

    counts = [torch.zeros(block.experts.num_experts, dtype=torch.float64) for block in blocks]

    def counting(layer: int) -> Any:
        def note(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            _hidden, chosen, weights = *args, *kwargs.values()
            each = (weights if weighted else torch.ones_like(weights)).double().flatten()
            counts[layer].index_add_(0, chosen.flatten().cpu(), each.cpu())

        return note

    hooks = [
        block.experts.register_forward_pre_hook(counting(layer), with_kwargs=True)
        for layer, block in enumerate(blocks)
    ]
    try:
        with torch.inference_mode():
            for window in windows:
                model(window[None].to(model.device), use_cache=False, logits_to_keep=1)
    finally:
        for hook in hooks:
            hook.remove()
    return counts
