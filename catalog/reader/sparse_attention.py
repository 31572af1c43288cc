"""Latent attention, and the indexers that pick what a layer reads."""

from catalog.attention import LatentAttention
from catalog.indexers import BlockIndexer, Indexer
from catalog.reader.fields import Fields

HEADS = ("num_attention_heads", "n_heads", "n_head", "num_heads")


def latent(fields: Fields, layer: int, layers: int) -> LatentAttention:
    query_rank = fields.integer("q_lora_rank") if fields.has("q_lora_rank") else None
    index, top_k = _index(fields, layer, layers)
    fields.skip("head_dim", "qk_head_dim", "num_key_value_heads", "index_", "indexer_")
    return LatentAttention(
        heads=fields.integer(*HEADS),
        kv_rank=fields.integer("kv_lora_rank"),
        rope_dim=fields.integer("qk_rope_head_dim"),
        nope_dim=fields.integer("qk_nope_head_dim"),
        value_dim=fields.integer("v_head_dim"),
        query_rank=query_rank,
        index=index,
        top_k=top_k,
    )


def _index(fields: Fields, layer: int, layers: int) -> tuple[Indexer | None, int | None]:
    """Return a layer's own indexer and how many tokens are read; a layer may share another's."""
    if not fields.has("index_n_heads"):
        return None, None
    found = Indexer(
        heads=fields.integer("index_n_heads"), head_dim=fields.integer("index_head_dim")
    )
    top_k = fields.integer("index_topk")
    kinds = fields.sequence("indexer_types", length=layers)
    if not kinds:
        return found, top_k
    if kinds[layer] not in ("full", "shared"):
        raise fields.uncounted("indexer_types", f"{kinds[layer]!r} is not a kind known here")
    return (found if kinds[layer] == "full" else None), top_k


def block_index(fields: Fields) -> BlockIndexer:
    inner = fields.nested("sparse_attention_config") or fields
    inner.skip("sparse_disable_index_value", "sparse_init_block", "index_block_size", "index_local")
    return BlockIndexer(
        heads=inner.integer("sparse_num_index_heads", "index_n_heads"),
        head_dim=inner.integer("sparse_index_dim", "index_head_dim"),
    )


def blocks_read(fields: Fields) -> int:
    """Return the tokens of the blocks that are read: picked ones and those just before."""
    inner = fields.nested("sparse_attention_config") or fields
    picked = inner.integer("sparse_topk_blocks", "index_topk_blocks")
    near = inner.integer("sparse_local_block", "index_local_blocks", default=0, least=0)
    return (picked + near) * inner.integer("sparse_block_size", "index_block_size")
