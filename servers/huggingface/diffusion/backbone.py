"""Forward passes of a model without causal mask, whole or of a window of positions.

Attention looks both ways, so keys and values of any layer but the first depend on every token, and
those of a cache are out of date once a token has become final. A cached pass is therefore an
approximation, renewed by a whole pass at the start of each block (Fast-dLLM, arXiv 2505.22618):
`prefix` keeps what stands before the block, `block` also what comes after it.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from servers.huggingface.diffusion.options import KvCache

if TYPE_CHECKING:
    from torch import Tensor

MASKED_OUT = float("-inf")


class WindowCache:
    """Keys and values of a whole pass, of which a window is computed anew; transformers' `Cache`.

    Tensors are (rows, heads, positions, head size), one pair a layer.
    """

    def __init__(self) -> None:
        self._layers: list[tuple[Tensor, Tensor]] = []
        self._window: range | None = None

    def recompute(self, window: range) -> None:
        """From now on passes bring the window's positions alone."""
        self._window = window

    def update(
        self, keys: "Tensor", values: "Tensor", layer: int, *_: object, **__: object
    ) -> tuple["Tensor", "Tensor"]:
        import torch

        window = self._window
        if window is None:
            self._layers.append((keys, values))
            return keys, values
        old_keys, old_values = self._layers[layer]

        def spliced(old: "Tensor", new: "Tensor") -> "Tensor":
            return torch.cat([old[:, :, : window.start], new, old[:, :, window.stop :]], dim=2)

        return spliced(old_keys, keys), spliced(old_values, values)


@dataclass(slots=True)
class Backbone:
    """A model in transformers' form, and how often it was run."""

    model: Any
    mask_id: int
    cacheable: bool = True
    """Remote code brings its own forward pass, which knows no window."""
    passes: int = field(default=0, init=False)
    positions: int = field(default=0, init=False)
    """Token positions that went through the layers, all passes together."""

    def logits(
        self, ids: "Tensor", block: range, *, window: range | None, cache: WindowCache | None
    ) -> "Tensor":
        """Return logits (rows, block, vocabulary) of a pass over the window, or over everything.

        The mask token is no answer: it is never the most likely one.
        """
        import torch

        window = window or range(ids.shape[1])
        self.passes += 1
        self.positions += ids.shape[0] * len(window)
        if self.cacheable:
            wanted = torch.arange(block.start - window.start, block.stop - window.start)
            out = self.model(
                ids[:, window.start : window.stop],
                position_ids=torch.arange(window.start, window.stop, device=ids.device)[None],
                attention_mask=_all_seen(ids, window) if cache else None,
                past_key_values=cache,
                use_cache=False,
                logits_to_keep=wanted.to(ids.device),
            ).logits
        else:
            out = self.model(ids).logits[:, block.start : block.stop]
        logits: Tensor = out
        logits[..., self.mask_id] = MASKED_OUT
        return logits


def _all_seen(ids: "Tensor", window: range) -> "Tensor":
    """A mask that hides nothing: given whole, transformers asks the cache for no lengths."""
    import torch

    return torch.ones(1, 1, len(window), ids.shape[1], dtype=torch.bool, device=ids.device)


class BlockPasses:
    """The passes over one block: whole, or whole once and then a window of it."""

    def __init__(self, backbone: Backbone, kind: KvCache, block: range, total: int) -> None:
        """`block` and `total` count positions of prompt and answer together."""
        self._backbone, self._block = backbone, block
        self._cache = None if kind == "none" else WindowCache()
        self._again = block if kind == "block" else range(block.start, total)
        self._filled = False

    def logits(self, ids: "Tensor") -> "Tensor":
        window = self._again if self._filled else None
        found = self._backbone.logits(ids, self._block, window=window, cache=self._cache)
        if self._cache is not None and not self._filled:
            self._cache.recompute(self._again)
            self._filled = True
        return found
