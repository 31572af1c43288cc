"""Switch Transformers: an encoder and a decoder, whose layers are counted together."""

from catalog.models import Experts, GroupedQueryAttention, Model
from catalog.reader.decoder import MOST_LAYERS
from catalog.reader.fields import Fields
from catalog.reader.quantisation import quantisation

_MATRICES = 2


def switch(fields: Fields, *, name: str, source: str) -> Model:
    """Cross-attention, relative positions and the second stack's norm go to `extra_params`."""
    encoder = fields.integer("num_layers", most=MOST_LAYERS)
    decoder = fields.integer("num_decoder_layers", default=encoder, most=MOST_LAYERS)
    hidden, heads, head_dim = (fields.integer(key) for key in ("d_model", "num_heads", "d_kv"))
    buckets = fields.integer("relative_attention_num_buckets", default=32)
    sparse = _sparse(fields, "num_sparse_encoder_layers", encoder)
    sparse += _sparse(fields, "num_sparse_decoder_layers", decoder)
    width = fields.integer("d_ff")
    cross_attention = decoder * (4 * hidden * heads * head_dim + hidden)
    return Model(
        name=name,
        hf_id=None,
        layers=encoder + decoder,
        hidden=hidden,
        vocab=fields.integer("vocab_size"),
        attention=GroupedQueryAttention(heads=heads, kv_heads=heads, head_dim=head_dim),
        experts=Experts(
            count=fields.integer("num_experts"),
            top_k=1,
            width=width,
            layers=sparse,
            matrices=_MATRICES,
            router_bias=fields.boolean("router_bias", default=False),
        ),
        dense_width=width if sparse < encoder + decoder else 0,
        dense_matrices=_MATRICES,
        tied_embeddings=fields.boolean("tie_word_embeddings", default=True),
        max_context=fields.integer("n_positions", default=512),
        extra_params=cross_attention + 2 * buckets * heads + hidden,
        weight_dtype=quantisation(fields, None).plain.dtype,
        source=source,
    )


def _sparse(fields: Fields, key: str, layers: int) -> int:
    """Return how many layers of one stack hold experts: every step-th, counted from the second.

    With none wanted transformers still makes the second layer sparse, and so does this.
    """
    wanted = fields.integer(key, default=0, least=0)
    if wanted > layers:
        raise fields.bad(key, f"{wanted} of {layers} layers; for switch-c use the catalog's row")
    step = layers // wanted if wanted else layers
    return layers if step == 1 else len(range(1, layers, step))
