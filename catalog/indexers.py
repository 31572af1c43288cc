"""Small attentions that pick what the large one of a layer reads."""

import msgspec

INDEX_SCALE_BYTES = 4
"""DeepSeek-V3.2 keeps its index keys as fp8 with one float32 scale a token."""


class Indexer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A small attention that picks the tokens the large one reads (DeepSeek-V3.2, section 2)."""

    heads: int
    head_dim: int

    @property
    def bytes_per_token(self) -> int:
        return self.head_dim + INDEX_SCALE_BYTES

    def matrices(self, hidden: int, query_rank: int) -> dict[str, int]:
        return {
            "indexer.wq_b": query_rank * self.heads * self.head_dim,
            "indexer.wk": hidden * self.head_dim,
            "indexer.weights_proj": hidden * self.heads,
        }


class BlockIndexer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A small attention that picks blocks of keys for the large one (MiniMax-M3)."""

    heads: int
    head_dim: int

    @property
    def bytes_per_token(self) -> int:
        """Its keys are kept in 16 bits."""
        return 2 * self.head_dim

    def matrices(self, hidden: int) -> dict[str, int]:
        return {
            "index_q_proj": hidden * self.heads * self.head_dim,
            "index_k_proj": hidden * self.head_dim,
        }
