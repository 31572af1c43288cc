"""Grok-1's own key names, as in the `run.py` of its release, in Hugging Face's words."""

from catalog.reader.fields import Fields

_WORDS = {
    "head_dim": "key_size",
    "num_attention_heads": "num_q_heads",
    "num_key_value_heads": "num_kv_heads",
    "num_hidden_layers": "num_layers",
    "num_experts": "num_experts",
    "num_experts_per_tok": "num_selected_experts",
}


def is_xai(fields: Fields) -> bool:
    return fields.is_object("model") and fields.has("sequence_len")


def to_hugging_face(fields: Fields) -> Fields:
    """Rename the keys and derive the expert width as model.py's `ffn_size` does."""
    inner = fields.nested("model")
    assert inner is not None
    hidden = inner.integer("emb_size")
    width = inner.integer("widening_factor") * hidden * 2 // 3
    renamed: dict[str, object] = {word: inner.integer(key) for word, key in _WORDS.items()}
    renamed |= {
        "model_type": "grok-1",
        "hidden_size": hidden,
        "intermediate_size": -(-width // 8) * 8,
        "max_position_embeddings": fields.integer("sequence_len"),
        "vocab_size": fields.integer("vocab_size"),
        "tie_word_embeddings": True,
    }
    return Fields(renamed, where=fields.where)
