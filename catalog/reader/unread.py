"""Which keys of a config bear on its size: what was never read and could change a count."""

import re

from catalog.reader.fields import Fields

# What a key is about, where it cannot change how many parameters or cache elements there are.
_HARMLESS = re.compile(
    r"token|drop|rope|rotary|init|(?<!st)eps(ilon)?$|loss|activation|hidden_act|_act$|aux|coef|scal|(?<!expand_)(?<!expansion_)factor"
    r"|alpha|beta|gamma|theta|temperature|softcap|capping|limit|clip|clamp|norm_topk|scor|logit"
    r"|topk_group|grouped_topk|^n_group$|num_expert_group|topk_method|topk_prob|renormalize|^use_cache$|^output_|return_|torch|dtype"
    r"|version|architectures|auto_map|label|problem|prun|tokenizer|task|generation|beam|penalty"
    r"|mtp|nextn|ep_size|pretraining_tp|chunk_size_feed_forward|time_step|mup_|vision|image|video"
    r"|audio|projector|_name_or_path|_implementation|algorithm|kernels$|mamba_chunk_size|^chunk_size$"
    r"|(?<!dim_)multipliers?$|norm(?!.{0,80}rank)|bias|fp32|bf16|precision|overlap|interleave$|absolute|_on_input|learning"
    r"|seq_aux|^seq_length$|max_length|max_seq|max_position|model_max|bidirectional|training|gradient"
    r"|diversity|pad_|_freq_base|sparsity|use_associative|mambapy|sinkhorn|index_share|keep_window"
    r"|position_embedding_type|parallel_residual|parallel_attn|dim_model_base|flash_att|grouped_mm|^lm_head$|_impl$|attn_temperature|query_pre_attn|causal"
)
# Sizes whatever else their names say, unless they are of rotary embeddings or of other senses.
_PLAIN_SIZE = re.compile(
    r"^(?!.*(?:rope|rotary|vision|image|video|audio|mtp|nextn|projector|tokenizer|time_step|^ep_))"
    r".*(?:^|_)(?:dim|rank|width|experts|(?:hidden|intermediate|embedding|vocab)_size)$"
)
_SIZED = re.compile(
    r"size|dim|width|hidden|inter|ffn|mlp|expert|moe|layer|head|group|rank|lora|window|chunk|conv"
    r"|state|mamba|ssm|linear|index|latent|shared|residual|kernel|expan|block|pattern|types?$|gat"
    r"|embed|vocab|interval|freq|period|offset|kv|key_value|compress|hybrid|attn|attention|memory"
    r"|delta|recurr|dense|sparse|loop|ut_steps|stage|stride|ratio|mult|engram|num_|^n_|feed_forward|module"
)
_ROTARY = re.compile(r"(?:^|\.)(?=[^.]*?(?:rope|rotary))[^.]*+\.")
"""What an object of rotary embeddings holds: frequencies, by whatever names."""
_FRACTIONAL = re.compile(r"size|dim|width|expan|ffn|mlp|mult|ratio")


def unread_sizes(fields: Fields) -> tuple[str, ...]:
    """Return the keys that were never read and may bear on size, in the order of the file."""
    return tuple(key for key, value in fields.unread() if _bears(key, value))


def assumed_sizes(fields: Fields) -> tuple[str, ...]:
    """Return the keys that a file leaves to its class, were never read and may bear on size."""
    return tuple(key for key, value in fields.assumed() if _bears(key, value))


def harmless(key: str) -> bool:
    return _HARMLESS.search(key) is not None and not _PLAIN_SIZE.match(key)


def _bears(key: str, value: object) -> bool:
    """A part switched off, by false, 0, -1, an empty list or null, weighs nothing."""
    name = key.rpartition(".")[2].lower()
    if not value or value in ("none", -1) or harmless(name) or _ROTARY.search(key):
        return False
    if isinstance(value, float):
        return _FRACTIONAL.search(name) is not None
    return _SIZED.search(name) is not None
