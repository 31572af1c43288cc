"""The diffusion decoder: block after block, each denoised in a number of steps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.hfserver.decoder import Ask, Passes, Piece
from orchestrator.hfserver.diffusion.backbone import Backbone, BlockPasses
from orchestrator.hfserver.diffusion.commit import commit
from orchestrator.hfserver.diffusion.options import Options, commits

if TYPE_CHECKING:
    from torch import Tensor


class Canvas:
    """Prompts with the answers that grow behind them; what is not final yet holds the mask."""

    def __init__(self, batch: Sequence[Ask], backbone: Backbone) -> None:
        import torch

        length, device = batch[0].max_tokens, backbone.model.device
        prompts = torch.tensor([ask.prompt for ask in batch], device=device)
        masks = torch.full((len(batch), length), backbone.mask_id, device=device)
        self.ids = torch.cat([prompts, masks], dim=1)
        self.masked = torch.ones_like(masks, dtype=torch.bool)
        self.prompt = prompts.shape[1]
        self._given = [0] * len(batch)

    def in_whole(self, block: range) -> range:
        """Positions of the answer as positions of prompt and answer together."""
        return range(block.start + self.prompt, block.stop + self.prompt)

    def settle(self, block: range, token: "Tensor", kept: "Tensor") -> None:
        """Make the kept tokens of a block final."""
        whole = self.in_whole(block)
        part = self.ids[:, whole.start : whole.stop]
        part[kept] = token[kept]
        self.masked[:, block.start : block.stop] &= ~kept

    def settled(self) -> tuple[Piece, ...]:
        """Hand out tokens before which nothing is open any more, each once."""
        rows = zip(self.masked.tolist(), self.ids[:, self.prompt :].tolist(), strict=True)
        pieces = []
        for row, (masked, ids) in enumerate(rows):
            until = masked.index(True) if True in masked else len(masked)
            if until > self._given[row]:
                pieces.append(Piece(row, tuple(ids[self._given[row] : until])))
                self._given[row] = until
        return tuple(pieces)


@dataclass(slots=True)
class DiffusionDecoder:
    """Masked-diffusion decoding; a token is handed out once it and all before it are final."""

    backbone: Backbone
    options: Options
    max_context: int
    eos: frozenset[int]
    max_batch: int = 1
    details: Mapping[str, str | int | float] = field(default_factory=dict)

    @property
    def vocab(self) -> int:
        return int(self.backbone.model.config.vocab_size)

    def check(self, ask: Ask) -> None:
        """Any length can be cut into blocks; what is measured is checked for evenness before."""

    def counters(self) -> Mapping[str, float]:
        backbone = self.backbone
        return {"forward_passes": backbone.passes, "positions_computed": backbone.positions}

    def decode(self, batch: Sequence[Ask]) -> Passes:
        canvas = Canvas(batch, self.backbone)
        for block, steps in self.options.blocks(batch[0].max_tokens):
            for _ in self._denoise(canvas, block, steps):
                yield canvas.settled()

    def _denoise(self, canvas: Canvas, block: range, steps: int) -> Iterator[None]:
        """Run a block's steps; with early commits it may need fewer than it has."""
        import torch

        options, whole = self.options, canvas.in_whole(block)
        passes = BlockPasses(self.backbone, options.kv_cache, whole, canvas.ids.shape[1])
        for count in commits(len(block), steps):
            with torch.inference_mode():
                masked = canvas.masked[:, block.start : block.stop]
                if not masked.any():
                    return
                logits = passes.logits(canvas.ids)
                token, kept = commit(logits, masked, count, above=options.commit_above)
                canvas.settle(block, token, kept)
            yield
