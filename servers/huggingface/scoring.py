"""Log-probabilities of a prompt's own tokens, in the shape of vLLM's `prompt_logprobs`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch

MOST_TOP = 20
TokenLogprobs = dict[int, float]
"""Natural logarithms by token: the likeliest ones of a position and the prompt's own."""


@runtime_checkable
class Scorer(Protocol):
    """A decoder that also says how likely a prompt is."""

    def score(self, prompt: Sequence[int], top: int) -> list[TokenLogprobs]:
        """Return one listing for each token of the prompt but the first."""
        ...


def prompt_logprobs(logits: "torch.Tensor", prompt: Sequence[int], top: int) -> list[TokenLogprobs]:
    """List position i's `top` likeliest tokens and `prompt[i + 1]`; logits are (L, vocabulary)."""
    import torch

    logprobs = logits[:-1].float().log_softmax(dim=-1)
    own = torch.tensor(prompt[1:], device=logprobs.device)[:, None]
    values, ids = logprobs.topk(min(top, logprobs.shape[-1]), dim=-1)
    values = torch.cat([logprobs.gather(1, own), values], dim=-1)
    rows = zip(torch.cat([own, ids], dim=-1).tolist(), values.tolist(), strict=True)
    return [dict(zip(*row, strict=True)) for row in rows]


def as_vllm(listed: Sequence[TokenLogprobs]) -> list[Any]:
    """Write listings as vLLM does: nothing for the first token, then objects by token id."""
    return [
        None,
        *({str(token): {"logprob": value} for token, value in each.items()} for each in listed),
    ]
