"""Which tokens become final after a forward pass: low-confidence remasking, greedy."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def commit(
    logits: "Tensor", masked: "Tensor", count: int, *, above: float | None
) -> tuple["Tensor", "Tensor"]:
    """Return each position's most likely token, and which positions keep theirs.

    Logits are (rows, positions, vocabulary), `masked` (rows, positions) says what is still open.
    A token's confidence is its softmax probability; the `count` most confident open positions are
    committed, and with `above` every other one at least so probable; the rest is masked again.
    """
    import torch

    scores = logits.float()
    best, token = scores.max(-1)
    confidence = (best - scores.logsumexp(-1)).exp().masked_fill(~masked, -1.0)
    committed = torch.zeros_like(masked)
    committed.scatter_(1, confidence.topk(min(count, masked.shape[1]), dim=1).indices, True)
    if above is not None:
        committed |= confidence >= above
    return token, committed & masked
