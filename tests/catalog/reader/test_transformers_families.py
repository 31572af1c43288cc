"""Every decoder that transformers has, counted from its own modules on torch's meta device.

A family that is known here is right to the last parameter. Any other is right within a hundredth,
or not counted.
"""

import ast
import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from catalog.errors import BadFile, NotCounted
from catalog.from_hf import model_from_config
from catalog.models import Model
from catalog.reader.families import FAMILIES, SAME_AS

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

HYBRID = ["mamba", "attention"] * 3
# What a class's defaults leave open, or leave without attention.
GIVEN: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [9, 18, 27]},
    "deepseek_v2": {"num_experts_per_tok": 6, "num_hidden_layers": 4, "first_k_dense_replace": 1},
    "dots1": {
        "n_routed_experts": 16,
        "n_shared_experts": 2,
        "num_experts_per_tok": 4,
        "num_hidden_layers": 4,
    },
    "glm4_moe": {"head_dim": 128, "num_hidden_layers": 4},
    "granitemoehybrid": {"layer_types": HYBRID, "num_hidden_layers": 6},
    "hunyuan_v1_dense": {"head_dim": 128, "num_hidden_layers": 4},
    "hunyuan_v1_moe": {"head_dim": 128, "num_experts": 8, "moe_topk": 2, "num_hidden_layers": 4},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 3, "num_hidden_layers": 6},
    "ministral": {"head_dim": 128, "num_hidden_layers": 4},
    "nemotron": {"head_dim": 128, "num_key_value_heads": 8, "num_hidden_layers": 4},
}
# Corners that no class's defaults show.
CORNERS = [
    ("llama4_text", {"num_hidden_layers": 8, "interleave_moe_layer_step": 2}),
    ("llama4_text", {"num_hidden_layers": 6, "moe_layers": [1, 2], "use_qk_norm": False}),
    ("gemma3_text", {"num_hidden_layers": 7, "attention_bias": True}),
    ("gemma4_text", {"num_hidden_layers": 12, "num_kv_shared_layers": 4}),
    (
        "gemma4_text",
        {"num_hidden_layers": 12, "num_kv_shared_layers": 4, "use_double_wide_mlp": True},
    ),
    (
        "gemma4_text",
        {
            "num_hidden_layers": 12,
            "enable_moe_block": True,
            "num_experts": 8,
            "top_k_experts": 2,
            "moe_intermediate_size": 256,
            "hidden_size_per_layer_input": 0,
            "attention_k_eq_v": True,
            "num_global_key_value_heads": 2,
        },
    ),
    ("jamba", {"num_hidden_layers": 8, "attn_layer_period": 4, "attn_layer_offset": 1}),
    ("jamba", {"num_hidden_layers": 8, "num_experts": 4, "expert_layer_period": 4}),
    ("bamba", {"num_hidden_layers": 6, "attn_layer_indices": [1], "mamba_n_groups": 2}),
    (
        "falcon_h1",
        {"num_hidden_layers": 3, "mamba_rms_norm": True, "mamba_d_ssm": 2048, "mamba_d_head": 16},
    ),
    ("granitemoehybrid", {"num_hidden_layers": 6, "layer_types": HYBRID, "num_local_experts": 0}),
    (
        "nemotron_h",
        {"layers_block_type": ["mamba", "moe", "attention", "mlp", "moe"], "moe_latent_size": 512},
    ),
    ("qwen3_next", {"num_hidden_layers": 8, "mlp_only_layers": [0, 3]}),
    ("qwen3_5_text", {"num_hidden_layers": 8, "linear_num_value_heads": 16}),
    ("olmo_hybrid", {"num_hidden_layers": 8}),
    ("kimi_linear", {"num_hidden_layers": 6}),
    ("minimax", {"num_hidden_layers": 6}),
    ("minimax_m2", {"num_hidden_layers": 3}),
    ("deepseek_v32", {"num_hidden_layers": 5, "index_n_heads": 32}),
    ("glm_moe_dsa", {"num_hidden_layers": 6, "indexer_types": ["full", "full", "shared"] * 2}),
    ("ernie4_5_moe", {"num_hidden_layers": 9, "moe_layer_interval": 2, "use_bias": True}),
    ("laguna", {"num_hidden_layers": 4, "num_attention_heads_per_layer": [48, 64, 64, 48]}),
    ("mimo_v2_flash", {"num_hidden_layers": 8}),
    ("afmoe", {"num_hidden_layers": 6, "num_dense_layers": 2}),
    (
        "lfm2",
        {"num_hidden_layers": 6, "full_attn_idxs": [2, 4], "conv_bias": True, "conv_L_cache": 4},
    ),
    ("phimoe", {"num_hidden_layers": 3, "attention_bias": True, "lm_head_bias": True}),
    ("starcoder2", {"num_hidden_layers": 3, "use_bias": False}),
    ("cohere2", {"num_hidden_layers": 6, "num_key_value_heads": 8}),
    ("seed_oss", {"num_hidden_layers": 3, "attention_out_bias": True}),
    ("minicpm3", {"num_hidden_layers": 3}),
    ("axk1", {"num_hidden_layers": 4, "first_k_dense_replace": 2}),
    ("inkling_text", {"num_hidden_layers": 8}),
    ("exaone_moe", {"num_hidden_layers": 6, "first_k_dense_replace": 2}),
    (
        "cohere2_moe",
        {
            "num_hidden_layers": 6,
            "num_shared_experts": 2,
            "first_k_dense_replace": 1,
            "prefix_dense_intermediate_size": 4096,
            "num_key_value_heads": 8,
        },
    ),
]
# Text parts of models that see or hear; transformers gives them no head of their own.
TEXTS = (
    "aria_text",
    "glm4v_text",
    "glm_image_text",
    "glm_ocr_text",
    "mistral4",
    "muse_glimmer_text",
    "qwen2_5_vl_text",
    "qwen2_vl_text",
    "qwen3_vl_moe_text",
    "qwen3_vl_text",
)
CAUSAL_NAMES = "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"
# Beside the text decoder, and tensors that are saved but not learned.
OTHER_PARTS = ("vision", "visual", "audio", "multi_modal", "projector", "slope_rate", "_decay")
REASONS = {
    "longcat_flash": "transformers sets aside gate matrices for the experts that do nothing",
    "dbrx": "its class cannot be built: its attention has no rope_theta",
}


@cache
def transformers() -> ModuleType:
    """Import it only when a test runs, since it takes seconds."""
    pytest.importorskip("torch", reason="transformers builds its modules with torch")
    module: ModuleType = pytest.importorskip("transformers", reason="its modules are counted")
    return module


def causal_families() -> list[str]:
    """Read the names off the source: to import it takes seconds of every session's collection."""
    package = find_spec("transformers")
    if package is None or package.origin is None:
        return []
    source = Path(package.origin).parent / "models" / "auto" / "modeling_auto.py"
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == CAUSAL_NAMES:
            assert isinstance(node.value, ast.Call)
            return sorted(dict(ast.literal_eval(node.value.args[0])))
    raise LookupError(f"{source}: no {CAUSAL_NAMES}")


def config_of(model_type: str, differences: dict[str, Any]) -> Any:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    return CONFIG_MAPPING[model_type](**differences)


def stored(config: Any, kind: str = "AutoModelForCausalLM") -> int:
    """Return how many numbers a checkpoint of this config holds for its text, tied ones once."""
    import torch

    with torch.device("meta"):
        module = getattr(transformers(), kind).from_config(config)
    saved = module.state_dict().keys()
    named = [*module.named_parameters(), *(b for b in module.named_buffers() if b[0] in saved)]
    return sum(
        tensor.numel() for name, tensor in named if not any(part in name for part in OTHER_PARTS)
    )


def read(config: Any) -> Model:
    # As it is saved: transformers writes every key of its class.
    return model_from_config(json.loads(config.to_json_string(use_diff=False)), name="read")


@pytest.mark.parametrize("model_type", causal_families())
def test_a_family_is_exact_if_it_is_known_and_else_close_or_not_counted(model_type: str) -> None:
    known = SAME_AS.get(model_type, model_type) in FAMILIES
    if model_type in REASONS:
        pytest.skip(REASONS[model_type])
    try:
        config = config_of(model_type, GIVEN.get(model_type, {}))
        right = stored(config)
    except Exception as error:
        assert not known, f"no defaults to compare with: {error}"
        pytest.skip(f"its class has no whole defaults: {error}")
    try:
        found = read(config)
    except (NotCounted, BadFile):
        assert not known
        return
    if known:
        assert found.total_params == right
    else:
        assert found.total_params == pytest.approx(right, rel=0.01)


@pytest.mark.parametrize(("model_type", "differences"), CORNERS)
def test_a_corner_of_a_family_is_exact(model_type: str, differences: dict[str, Any]) -> None:
    config = config_of(model_type, differences)
    assert read(config).total_params == stored(config)


@pytest.mark.parametrize("model_type", TEXTS)
def test_the_text_part_of_a_larger_model_is_exact(model_type: str) -> None:
    config = config_of(model_type, {})
    found = read(config)
    head = 0 if found.tied_embeddings else found.vocab * found.hidden
    assert found.total_params - head == stored(config, "AutoModel")
