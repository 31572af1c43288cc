"""The diffusion decoder: block after block, each denoised in a number of steps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from servers.huggingface.decoder import CompletionRequest, Passes, TokenChunk
from servers.huggingface.diffusion.backbone import Backbone, BlockPasses
from servers.huggingface.diffusion.commit import commit
from servers.huggingface.diffusion.options import DiffusionOptions, commits

if TYPE_CHECKING:
    from torch import Tensor


class DenoisingState:
    """Prompts with the answers that grow behind them; what is not final yet holds the mask."""

    def __init__(self, batch: Sequence[CompletionRequest], backbone: Backbone) -> None:
        import torch

        length, device = batch[0].max_tokens, backbone.model.device
        prompts = torch.tensor([request.prompt for request in batch], device=device)
        masks = torch.full((len(batch), length), backbone.mask_id, device=device)
        self.ids = torch.cat([prompts, masks], dim=1)
        self.masked = torch.ones_like(masks, dtype=torch.bool)
        self.prompt = prompts.shape[1]
        self._emitted = [0] * len(batch)

    def sequence_range(self, block: range) -> range:
        """Positions of the answer as positions of prompt and answer together."""
        return range(block.start + self.prompt, block.stop + self.prompt)

    def commit(self, block: range, token: "Tensor", committed: "Tensor") -> None:
        """Make the committed tokens of a block final."""
        whole = self.sequence_range(block)
        part = self.ids[:, whole.start : whole.stop]
        part[committed] = token[committed]
        self.masked[:, block.start : block.stop] &= ~committed

    def take_committed(self) -> tuple[TokenChunk, ...]:
        """Hand out tokens before which nothing is open any more, each once."""
        rows = zip(self.masked.tolist(), self.ids[:, self.prompt :].tolist(), strict=True)
        pieces = []
        for row, (masked, ids) in enumerate(rows):
            until = masked.index(True) if True in masked else len(masked)
            if until > self._emitted[row]:
                pieces.append(TokenChunk(row, tuple(ids[self._emitted[row] : until])))
                self._emitted[row] = until
        return tuple(pieces)


@dataclass(slots=True)
class DiffusionDecoder:
    """Masked-diffusion decoding; a token is handed out once it and all before it are final."""

    backbone: Backbone
    options: DiffusionOptions
    max_context: int
    eos: frozenset[int]
    max_batch: int = 1
    details: Mapping[str, str | int | float] = field(default_factory=dict)

    @property
    def vocab(self) -> int:
        return int(self.backbone.model.config.vocab_size)

    def check(self, request: CompletionRequest) -> None:
        """Any length can be cut into blocks; what is measured is checked for evenness before."""

    def counters(self) -> Mapping[str, float]:
        backbone = self.backbone
        return {"forward_passes": backbone.passes, "positions_computed": backbone.positions}

    def decode(self, batch: Sequence[CompletionRequest]) -> Passes:
        state = DenoisingState(batch, self.backbone)
        for block, steps in self.options.blocks(batch[0].max_tokens):
            for _ in self._denoise(state, block, steps):
                yield state.take_committed()

    def _denoise(self, state: DenoisingState, block: range, steps: int) -> Iterator[None]:
        """Run a block's steps; with early commits it may need fewer than it has."""
        import torch

        options, whole = self.options, state.sequence_range(block)
        passes = BlockPasses(self.backbone, options.kv_cache, whole, state.ids.shape[1])
        for count in commits(len(block), steps):
            with torch.inference_mode():
                masked = state.masked[:, block.start : block.stop]
                if not masked.any():
                    return
                logits = passes.logits(state.ids)
                token, committed = commit(logits, masked, count, above=options.commit_above)
                state.commit(block, token, committed)
            yield
