"""How each `model_type` of Hugging Face differs from the plain decoder that the rest share."""

from catalog.reader.family import Family

_QWEN2 = Family(bias_key="qkv_bias", bias_default=True, output_bias=False)
_QWEN3 = Family(qk_norm="head")
_QWEN3_NEXT = Family(
    qk_norm="head", gate="element", state="gated-delta", attention_every=4, shared_gate=True
)
_GLM4 = Family(output_bias=False, norms_per_layer=4)
_DEEPSEEK_V3 = Family(router_bias=True)
_GRANITE = Family()
_GEMMA = Family(tied_default=True)
_GEMMA2 = Family(norms_per_layer=4, full_every=2, tied_default=True)
_GEMMA3 = Family(norms_per_layer=4, full_every=6, qk_norm="head", tied_default=True)
_LFM2 = Family(
    qk_norm="head",
    state="convolution",
    tied_default=True,
    router_bias_key="use_expert_bias",
    ignored=("block_dim", "block_use_", "conv_dim"),
)
_MISTRAL = Family(full_every=0)
_EXAONE = Family(qk_norm="head", full_every=4)
# Of a head for classes, pictures, and the vocabulary before it was padded: its code builds none.
_HUNYUAN = ("dense_list", "pool_type", "org_vocab_size", "anyres_", "num_media_embeds", "vit_")
_MAMBA2 = Family(state="mamba2")
_OF_COHERE = (
    "layer_switch", "order_of_interleaved", "use_parallel", "use_embedding_sharing",
    "expert_selection", "shared_expert_comb",
)  # fmt: skip
_COHERE2 = Family(norms_per_layer=1, full_every=4, tied_default=True, ignored=_OF_COHERE)

FAMILIES: dict[str, Family] = {
    "llama": Family(),
    "mistral": _MISTRAL,
    "ministral": _MISTRAL,
    "ministral3": _MISTRAL,
    "mistral4": Family(),
    "mixtral": _MISTRAL,
    "qwen2": _QWEN2,
    "qwen2_moe": Family(
        bias_key="qkv_bias", bias_default=True, output_bias=False, shared_gate=True
    ),
    "qwen3": _QWEN3,
    "qwen3_moe": _QWEN3,
    "qwen3_next": _QWEN3_NEXT,
    "qwen3_5": _QWEN3_NEXT,
    "qwen3_5_moe": _QWEN3_NEXT,
    "olmo": Family(norms_per_layer=0, final_norm=0),
    "olmo2": Family(qk_norm="full"),
    "olmo3": Family(qk_norm="full", full_every=4),
    "olmo_hybrid": Family(
        qk_norm="full", state="gated-delta", attention_every=4, ignored=("linear_allow",)
    ),
    "olmoe": Family(qk_norm="full"),
    "flex_olmo": Family(qk_norm="full"),
    "deepseek_v2": Family(),
    "deepseek_v3": _DEEPSEEK_V3,
    "deepseek_v32": _DEEPSEEK_V3,
    "deepseek": Family(compared=False),
    "kimi_k2": _DEEPSEEK_V3,
    "kimi_linear": Family(router_bias=True, state="kimi-delta", dense_first=1),
    "youtu": Family(),
    "axk1": Family(router_bias=True, moe_norms=1),
    "longcat_flash": Family(
        router_bias=True,
        norms_per_layer=4,
        twofold=True,
        ignored=("attention_method", "zero_expert_type"),
    ),
    "glm": Family(output_bias=False),
    "glm4": _GLM4,
    "glm4v": Family(bias_default=True, output_bias=False, norms_per_layer=4),
    "glm_ocr": Family(norms_per_layer=4),
    "glm4_moe": Family(output_bias=False, router_bias=True),
    "glm4_moe_lite": Family(router_bias=True, dense_first=1),
    "glm_moe_dsa": _DEEPSEEK_V3,
    "gpt_oss": Family(
        bias_default=True,
        sinks=True,
        full_every=2,
        expert_bias=True,
        router_bias=True,
    ),
    "grok-1": Family(norms_per_layer=4),
    "llada": Family(
        bias_key="include_qkv_bias",
        kind="diffusion",
        ignored=("embedding_size", "mlp_ratio", "block_", "multi_query", "flash_attention"),
    ),
    "llada_moe": Family(kind="diffusion"),
    "llama4": Family(always_shared=True, bare_qk_norm=True),
    "afmoe": Family(
        qk_norm="head", gate="element", norms_per_layer=4, router_bias=True, full_every=4
    ),
    "apertus": Family(qk_norm="head", matrices=2, layer_small=4),
    "arcee": Family(matrices=2),
    "nemotron": Family(matrices=2, norm_bias=True, final_norm=2),
    "nemotron_h": Family(
        state="mamba2", matrices=2, norms_per_layer=1, router_bias=True, mlp_bias_key="mlp_bias"
    ),
    "bamba": _MAMBA2,
    "falcon_h1": Family(
        state="mamba2", beside=True, ignored=("mamba_use_mlp", "mlp_expansion_factor")
    ),
    "jamba": Family(state="mamba"),
    "cohere": Family(norms_per_layer=1, tied_default=True),
    "cohere2": _COHERE2,
    "cohere2_moe": _COHERE2,
    "ernie4_5": Family(bias_key="use_bias", mlp_bias_key="use_bias", tied_default=True),
    "ernie4_5_moe": Family(
        bias_key="use_bias",
        mlp_bias_key="use_bias",
        head_bias_key="use_bias",
        router_bias=True,
        tied_default=True,
        ignored=("moe_capacity", "moe_gate", "moe_group", "moe_multimodal_", "compression_ratio"),
    ),
    "exaone4": _EXAONE,
    "exaone_moe": Family(
        qk_norm="head", full_every=4, router_bias=True, ignored=("first_last_k_dense_replace",)
    ),
    "gemma": _GEMMA,
    "gemma2": _GEMMA2,
    "vaultgemma": Family(full_every=2, tied_default=True),
    "gemma3": _GEMMA3,
    "gemma4": Family(
        norms_per_layer=4,
        norms_beside=3,
        layer_small=1,
        full_every=6,
        qk_norm="head",
        global_head_dim=512,
        tied_default=True,
    ),
    "granite": _GRANITE,
    "granitemoe": _GRANITE,
    "granitemoeshared": _GRANITE,
    "granitemoehybrid": Family(state="mamba2", dense_is_shared=True),
    "granite_swa": Family(sinks=True),
    "granitemoe_swa": Family(sinks=True),
    # Its dynamic mask takes a number a head of a projection, and has a factor a head.
    "doge": Family(qk_norm="head", gate="head", sinks=True, norms_per_layer=4),
    "helium": Family(output_bias=False),
    "hunyuan_v1_dense": Family(qk_norm="head", ignored=_HUNYUAN),
    "hunyuan_v1_moe": Family(
        qk_norm="head",
        always_shared=True,
        tied_default=True,
        ignored=("use_mixed_mlp_moe", "cla_", "use_cla", *_HUNYUAN),
    ),
    "hy_v3": Family(qk_norm="head", router_bias=True, dense_first=1),
    "inkling": Family(
        qk_norm="head",
        short_convolutions=True,
        router_bias=True,
        embedding_norm=True,
        ignored=("number_of_conv_states", "shared_expert_sink"),
    ),
    "laguna": Family(
        qk_norm="head", gate="head", gate_key="gating", router_bias=True, dense_first=1
    ),
    "lfm2": _LFM2,
    "lfm2_moe": _LFM2,
    "mellum": _QWEN3,
    "mimo_v2_flash": Family(
        windowed_sinks=True,
        windowed_kv_factor=2,
        router_bias=True,
        dense_first=1,
        ignored=("attention_chunk_size", "attention_projection_layout"),
    ),
    "minicpm3": Family(tied_default=True, ignored=("scale_",)),
    "minimax": Family(state="lightning", attention_every=-2, ignored=("block_size",)),
    "minimax_m2": Family(
        qk_norm="full", router_bias=True, ignored=("mlp_intermediate_size", "shared_moe_mode")
    ),
    "minimax_m3_vl": Family(qk_norm="head", router_bias=True, ignored=("index_",)),
    "phi": Family(
        bias_default=True,
        matrices=2,
        mlp_bias_key="",
        mlp_bias_default=True,
        norms_per_layer=1,
        norm_bias=True,
        final_norm=2,
        head_bias=True,
    ),
    "phi3": Family(full_every=0, ignored=("full_attn_mod",)),  # no code reads Phi-4-mini's
    "phimoe": Family(full_every=0, norm_bias=True, final_norm=2, head_bias_key="lm_head_bias"),
    "seed_oss": Family(bias_default=True, output_bias_key="attention_out_bias"),
    "smollm3": Family(tied_default=True),
    "solar_open": _DEEPSEEK_V3,
    "dots1": Family(qk_norm="head", router_bias=True),
    "stablelm": Family(bias_key="use_qkv_bias", output_bias=False, norm_bias=True, final_norm=2),
    "starcoder2": Family(
        bias_key="use_bias",
        bias_default=True,
        mlp_bias_key="use_bias",
        mlp_bias_default=True,
        matrices=2,
        norm_bias=True,
        final_norm=2,
        full_every=0,
        tied_default=True,
        ignored=("mlp_type",),
    ),
    "dbrx": Family(ignored=("ffn_act_fn",)),
    # Not in transformers: from the publishers' own code, or vLLM's.
    "mimo": Family(bias_default=True, output_bias=False, compared=False),
    "minimax_m1": Family(state="lightning", compared=False, ignored=("shared_moe_mode",)),
    "step3": Family(compared=False),
    "step3p5": Family(
        windowed_heads_apart=True,
        qk_norm="head",
        gate="head",
        gate_key="use_head_wise_attn_gate",
        compared=False,
        ignored=("att_impl_type", "yarn_only_types"),  # its code has grouped queries alone
    ),
    "arctic": Family(compared=False),
    "grok-2": Family(norms_per_layer=4, compared=False, ignored=("global_attn_every_n",)),
    "bailing_moe": Family(compared=False),
    "bailing_moe_linear": Family(state="lightning", compared=False, ignored=("group_norm",)),
    "llada2_moe": Family(qk_norm="head", router_bias=True, kind="diffusion", compared=False),
    "muse_glimmer": Family(gate="element", norms_per_layer=4),
    "muse_spark": Family(gate="element", norms_per_layer=4, compared=False),
    # By its published parameters, which these parts make up to the last one.
    "beam": Family(
        qk_norm="head",
        gate="element",
        sinks=True,
        norms_per_layer=4,
        router_bias=True,
        compared=False,
    ),
}

# Families under another model_type, told apart by their class.
ARCHITECTURES: dict[str, str] = {
    "Grok1ModelForCausalLM": "grok-1",
    "Grok1ForCausalLM": "grok-1",
    "LLaDAMoEModelLM": "llada_moe",
}

# Other names of a family above, mostly of the text part of a model that also sees or hears.
SAME_AS: dict[str, str] = {
    "qwen3_vl_text": "qwen3",
    "qwen3_vl_moe_text": "qwen3_moe",
    "qwen3_omni_moe_text": "qwen3_moe",
    "qwen3_5_text": "qwen3_5",
    "qwen3_5_moe_text": "qwen3_5_moe",
    "qwen2_vl_text": "qwen2",
    "qwen2_5_vl_text": "qwen2",
    "qwen2_5_omni_text": "qwen2",
    "qwen2_vl": "qwen2",
    "qwen2_5_vl": "qwen2",
    "llama4_text": "llama4",
    "gemma3_text": "gemma3",
    "gemma4_text": "gemma4",
    "gemma4_unified_text": "gemma4",
    "gemma4_unified": "gemma4",
    "inkling_text": "inkling",
    "muse_glimmer_text": "muse_glimmer",
    "muse_spark_text": "muse_spark",
    "glm4v_text": "glm4v",
    "glm4v_moe_text": "glm4_moe",
    "glm_image_text": "glm4v",
    "glm_ocr_text": "glm_ocr",
    "step3_text": "step3",
    "step3p7": "step3p5",
    "kimi_k25": "kimi_k2",
    "lfm2_vl": "lfm2",
    "minimax_m3_vl_text": "minimax_m3_vl",
    "minimax_text_01": "minimax_m1",
    "cwm": "llama",
    "mimo_v2": "mimo_v2_flash",
}

# Families told apart here whose model_type is another family's: no class's defaults are theirs.
NO_CLASS = frozenset({"grok-1", "grok-2"})

# Encoders, and decoders whose layers no scheme here describes.
NOT_DECODERS = frozenset(
    {
        "jetmoe",
        "phi4_multimodal",
        "mllama",
        "mllama_text_model",
        "axk2",
        "zaya",
        "hrm_text",
        "ernie4_5_vl_moe_text",
        "qwen",
    }
)

# A model_type that is not above: weights tie unless the config says no, as transformers assumes.
UNKNOWN = Family(tied_default=True, compared=False)
