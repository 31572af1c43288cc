"""The models that moeserve knows by name: one row each, with where its figures come from.

Rows hold what the publisher's `config.json` says. Multi-token-prediction heads and other parts that
plain decoding does not run are left out. `kept` has published configurations that are read as any
other is.
"""

from catalog.errors import UnknownName
from catalog.models import Attention, Experts, GroupedQueryAttention, LatentAttention, Model
from catalog.seeded_diffusion import SEEDED_DIFFUSION


def _gqa(heads: int, kv_heads: int, head_dim: int) -> GroupedQueryAttention:
    return GroupedQueryAttention(heads=heads, kv_heads=kv_heads, head_dim=head_dim)


def _qwen3(name: str, layers: int, hidden: int, attention_heads: int, width: int) -> Model:
    return Model(
        name=name,
        hf_id=f"Qwen/{name}",
        layers=layers,
        hidden=hidden,
        vocab=151936,
        attention=GroupedQueryAttention(
            heads=attention_heads, kv_heads=4, head_dim=128, qk_norm="head"
        ),
        experts=Experts(count=128, top_k=8, width=width, layers=layers),
        dense_width=0,
        tied_embeddings=False,
        max_context=40960,
        source=f"config.json of Qwen/{name}; Qwen3 technical report (arXiv 2505.09388), table 2",
    )


def _gpt_oss(name: str, layers: int, experts: int) -> Model:
    return Model(
        name=name,
        hf_id=f"openai/{name}",
        layers=layers,
        hidden=2880,
        vocab=201088,
        attention=GroupedQueryAttention(
            heads=64,
            kv_heads=8,
            head_dim=64,
            window=128,
            windowed_layers=layers // 2,
            bias=True,
            output_bias=True,
            sinks=True,
        ),
        experts=Experts(
            count=experts, top_k=4, width=2880, layers=layers, bias=True, router_bias=True
        ),
        dense_width=0,
        tied_embeddings=False,
        max_context=131072,
        expert_dtype="mxfp4",
        source=f"config.json of openai/{name}; gpt-oss model card (arXiv 2508.10925), table 1",
    )


def _tiny(name: str, attention: Attention, experts: Experts) -> Model:
    return Model(
        name=name,
        hf_id=None,
        layers=2,
        hidden=128,
        vocab=512,
        attention=attention,
        experts=experts,
        dense_width=0,
        tied_embeddings=False,
        max_context=2048,
        weight_dtype="float32",
        source="moeserve's own, in the shape of a real model: seeded at random, or briefly trained",
    )


_ROWS = (
    Model(
        name="Mixtral-8x7B",
        hf_id="mistralai/Mixtral-8x7B-Instruct-v0.1",
        layers=32,
        hidden=4096,
        vocab=32000,
        attention=_gqa(32, 8, 128),
        experts=Experts(count=8, top_k=2, width=14336, layers=32),
        dense_width=0,
        tied_embeddings=False,
        max_context=32768,
        source="config.json of mistralai/Mixtral-8x7B-v0.1; Mixtral of Experts (arXiv 2401.04088), "
        "table 1",
    ),
    Model(
        name="Mixtral-4x7B",
        hf_id=None,
        layers=32,
        hidden=4096,
        vocab=32000,
        attention=_gqa(32, 8, 128),
        experts=Experts(count=4, top_k=2, width=14336, layers=32),
        dense_width=0,
        tied_embeddings=False,
        max_context=32768,
        source="Navigating the Design Space of MoE LLM Inference Optimization, table 2 ('4x7B', no "
        "checkpoint named): assumed to be Mixtral-8x7B with half of its experts",
    ),
    Model(
        name="Qwen1.5-MoE-A2.7B",
        hf_id="Qwen/Qwen1.5-MoE-A2.7B-Chat",
        layers=24,
        hidden=2048,
        vocab=151936,
        attention=GroupedQueryAttention(heads=16, kv_heads=16, head_dim=128, bias=True),
        experts=Experts(
            count=60, top_k=4, width=1408, layers=24, shared_width=5632, shared_gate=True
        ),
        dense_width=0,
        tied_embeddings=False,
        max_context=8192,
        source="config.json of Qwen/Qwen1.5-MoE-A2.7B",
    ),
    Model(
        name="OLMoE-1B-7B",
        hf_id="allenai/OLMoE-1B-7B-0924-Instruct",
        layers=16,
        hidden=2048,
        vocab=50304,
        attention=GroupedQueryAttention(heads=16, kv_heads=16, head_dim=128, qk_norm="full"),
        experts=Experts(count=64, top_k=8, width=1024, layers=16),
        dense_width=0,
        tied_embeddings=False,
        max_context=4096,
        source="config.json of allenai/OLMoE-1B-7B-0924; OLMoE (arXiv 2409.02060), table 1",
    ),
    _qwen3("Qwen3-30B-A3B", 48, 2048, 32, 768),
    _qwen3("Qwen3-235B-A22B", 94, 4096, 64, 1536),
    Model(
        name="DeepSeek-V3",
        hf_id="deepseek-ai/DeepSeek-V3",
        layers=61,
        hidden=7168,
        vocab=129280,
        attention=LatentAttention(
            heads=128, kv_rank=512, rope_dim=64, nope_dim=128, value_dim=128, query_rank=1536
        ),
        experts=Experts(
            count=256, top_k=8, width=2048, layers=58, shared_width=2048, router_bias=True
        ),
        dense_width=18432,
        tied_embeddings=False,
        max_context=163840,
        weight_dtype="fp8",
        source="config.json of deepseek-ai/DeepSeek-V3; DeepSeek-V3 technical report "
        "(arXiv 2412.19437), section 4.2; without the multi-token-prediction module",
    ),
    _gpt_oss("gpt-oss-20b", 24, 32),
    _gpt_oss("gpt-oss-120b", 36, 128),
    Model(
        name="Grok-1",
        hf_id="xai-org/grok-1",
        layers=64,
        hidden=6144,
        vocab=131072,
        attention=_gqa(48, 8, 128),
        experts=Experts(count=8, top_k=2, width=32768, layers=64),
        dense_width=0,
        tied_embeddings=True,
        max_context=8192,
        norms_per_layer=4,
        source="run.py and model.py of github.com/xai-org/grok-1",
    ),
    Model(
        name="Switch-C-2048",
        hf_id="google/switch-c-2048",
        layers=30,
        hidden=2080,
        vocab=32128,
        attention=_gqa(30, 30, 64),
        experts=Experts(count=2048, top_k=1, width=6144, layers=30, matrices=2),
        dense_width=0,
        tied_embeddings=True,
        max_context=512,
        # 15 decoder layers' cross-attention with its norm, relative positions of the encoder's and
        # the decoder's first layer (32 buckets), and the second stack's final norm.
        extra_params=15 * (4 * 2080 * 1920 + 2080) + 2 * 32 * 30 + 2080,
        source="Switch Transformers (arXiv 2101.03961), table 9; switch_c.gin of "
        "github.com/google/flaxformer (15 encoder and 15 decoder layers, all with experts)",
    ),
    Model(
        name="LLaMA-65B",
        hf_id="huggyllama/llama-65b",
        layers=80,
        hidden=8192,
        vocab=32000,
        attention=_gqa(64, 64, 128),
        experts=None,
        dense_width=22016,
        tied_embeddings=False,
        max_context=2048,
        weight_dtype="float16",
        source="LLaMA (arXiv 2302.13971), table 2; config.json of huggyllama/llama-65b",
    ),
    Model(
        name="LLaDA-8B",
        hf_id="GSAI-ML/LLaDA-8B-Instruct",
        layers=32,
        hidden=4096,
        vocab=126464,
        attention=_gqa(32, 32, 128),
        experts=None,
        dense_width=12288,
        tied_embeddings=False,
        max_context=4096,
        kind="diffusion",
        source="config.json of GSAI-ML/LLaDA-8B-Base; LLaDA (arXiv 2502.09992)",
    ),
    Model(
        name="LLaDA-MoE-7B",
        hf_id="inclusionAI/LLaDA-MoE-7B-A1B-Instruct",
        layers=16,
        hidden=2048,
        vocab=157184,
        attention=GroupedQueryAttention(heads=16, kv_heads=16, head_dim=128, qk_norm="head"),
        experts=Experts(count=64, top_k=8, width=1024, layers=16),
        dense_width=0,
        tied_embeddings=False,
        max_context=8192,
        kind="diffusion",
        source="config.json of inclusionAI/LLaDA-MoE-7B-A1B-Base; LLaDA-MoE (arXiv 2509.24389)",
    ),
    _tiny(
        "tiny-olmoe",
        GroupedQueryAttention(heads=4, kv_heads=4, head_dim=32, qk_norm="full"),
        Experts(count=64, top_k=8, width=64, layers=2),
    ),
    *(
        _tiny(
            f"tiny-mixtral{kind}", _gqa(4, 2, 32), Experts(count=count, top_k=2, width=64, layers=2)
        )
        for kind, count in (("", 8), ("-learned", 8), ("-distilled", 4))
    ),
    _tiny(
        "tiny-qwen",
        GroupedQueryAttention(heads=4, kv_heads=4, head_dim=32, bias=True),
        Experts(count=60, top_k=4, width=64, layers=2, shared_width=128, shared_gate=True),
    ),
    *SEEDED_DIFFUSION,
)

MODELS: dict[str, Model] = {row.name: row for row in _ROWS}

# Names that papers, model hubs and people use for the same architecture.
ALIASES: dict[str, str] = {
    "mixtral": "Mixtral-8x7B",
    "mistralai/Mixtral-8x7B-v0.1": "Mixtral-8x7B",
    "Qwen-MoE-A2.7B": "Qwen1.5-MoE-A2.7B",
    "Qwen1.5-MoE": "Qwen1.5-MoE-A2.7B",
    "qwen-moe": "Qwen1.5-MoE-A2.7B",
    "Qwen/Qwen1.5-MoE-A2.7B": "Qwen1.5-MoE-A2.7B",
    "olmoe": "OLMoE-1B-7B",
    "allenai/OLMoE-1B-7B-0924": "OLMoE-1B-7B",
    "allenai/OLMoE-1B-7B-0125": "OLMoE-1B-7B",
    "allenai/OLMoE-1B-7B-0125-Instruct": "OLMoE-1B-7B",
    "qwen3-30b": "Qwen3-30B-A3B",
    "qwen3-235b": "Qwen3-235B-A22B",
    "deepseek": "DeepSeek-V3",
    "deepseek-ai/DeepSeek-V3-Base": "DeepSeek-V3",
    "deepseek-ai/DeepSeek-V3-0324": "DeepSeek-V3",
    "grok": "Grok-1",
    "hpcai-tech/grok-1": "Grok-1",
    "switch-c": "Switch-C-2048",
    "llada": "LLaDA-8B",
    "GSAI-ML/LLaDA-8B-Base": "LLaDA-8B",
    "llada-moe": "LLaDA-MoE-7B",
    "inclusionAI/LLaDA-MoE-7B-A1B-Base": "LLaDA-MoE-7B",
}

_BY_LOWER = {
    **{alias.lower(): MODELS[name] for alias, name in ALIASES.items()},
    **{row.hf_id.lower(): row for row in _ROWS if row.hf_id},
    **{row.name.lower(): row for row in _ROWS},
}


HINT = "Or give the path of a config.json, or a Hugging Face id such as Qwen/Qwen3-30B-A3B."


def find_model(name: str) -> Model | None:
    """Return a row by its name, an alias or its Hugging Face id, in any case."""
    return _BY_LOWER.get(name.strip().lower())


def model(name: str) -> Model:
    """Return a row as `find_model` does; a name that no row has is an error."""
    found = find_model(name)
    if found is None:
        raise UnknownName("model", name, MODELS, hint=HINT)
    return found
