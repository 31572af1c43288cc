"""The bytes of quantised checkpoints: every method in use, what they leave out, and the unknown."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadFile, NotCounted
from catalog.from_hf import model_from_config
from catalog.models import Model

DENSE: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 1024,
    "intermediate_size": 2048,
    "num_hidden_layers": 4,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
QKVO = tuple(f"{letter}_proj" for letter in "qkvo")
TABLES = 2 * 1000 * 1024
SMALL = (2 * 4 + 1) * 1024
ATTENTION, FEEDING = 4 * 4 * 1024 * 1024, 4 * 3 * 1024 * 2048
LINEAR = ATTENTION + FEEDING
NF4 = {"quant_method": "bitsandbytes", "load_in_4bit": True}
TORCHAO = {"_type": "Int4WeightOnlyConfig", "_data": {"group_size": 64}}
HQQ = {"weight_quant_params": {"nbits": 4, "group_size": 64}}
GROUP: dict[str, Any] = {
    "targets": ["Linear"],
    "weights": {"num_bits": 4, "type": "int", "group_size": 128},
}


def read(quantization: object, *, beside: dict[str, Any] | None = None, **more: object) -> Model:
    config = {**DENSE, **more}
    if quantization is not None:
        config["quantization_config"] = quantization
    return model_from_config(config, name="quantised", beside=beside)


def bits(model: Model) -> float:
    """Bits of a projection's element, with the rest in 16."""
    return (model.held.total - 2 * (TABLES + SMALL)) * 8 / LINEAR


def group(**weights: object) -> dict[str, Any]:
    return {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }


def auto_round(kind: str, **more: object) -> dict[str, Any]:
    return {"quant_method": "auto-round", "data_type": kind, **more}


def quark(**weight: object) -> dict[str, Any]:
    return {"quant_method": "quark", "global_quant_config": {"weight": weight}}


@pytest.mark.parametrize(
    ("quantization", "dtype", "expected"),
    [
        ({"quant_method": "fp8"}, "fp8", 8),
        ({"quant_method": "fbgemm_fp8"}, "fp8", 8),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8", 8 + 32 / 128**2),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "int4", 4 + 20 / 128),
        ({"quant_method": "gptq", "bits": 3, "group_size": 128}, "int3", 3 + 19 / 128),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, "int8", 8),
        ({"quant_method": "awq_marlin", "bits": 4, "group_size": 64}, "int4", 4 + 20 / 64),
        ({"quant_method": "auto-round", "bits": 4, "group_size": 128}, "int4", 4 + 20 / 128),
        ({"quant_method": "inc", "bits": 4, "group_size": 128}, "int4", 4 + 20 / 128),
        (auto_round("mx_fp", bits=4, group_size=32), "mxfp4", 4.25),
        (auto_round("mx_fp", bits=8, group_size=32), "fp8", 8.25),
        (auto_round("nv_fp", bits=4, group_size=16), "nvfp4", 4.5),
        (auto_round("fp", bits=8, group_size=[128, 128]), "fp8", 8 + 32 / 128**2),
        (group(num_bits=4, type="int", group_size=32), "int4", 4.5),
        (group(num_bits=8, type="int", strategy="channel"), "int8", 8),
        (group(num_bits=8, type="float"), "fp8", 8),
        (group(num_bits=4, type="float", group_size=16), "nvfp4", 4.5),
        (group(num_bits=4, type="float", group_size=32), "mxfp4", 4.25),
        (group(num_bits=8, type="float", group_size=32), "fp8", 8.25),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4", 4.5),
        ({"quant_algo": "FP8"}, "fp8", 8),
        (NF4, "int4", 4.5),
        (
            {
                "quant_method": "bitsandbytes",
                "load_in_4bit": True,
                "bnb_4bit_use_double_quant": True,
            },
            "int4",
            4 + 8 / 64 + 32 / 64 / 256,
        ),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "int8", 8),
        ({"quant_method": "torchao", "quant_type": "int4_weight_only"}, "int4", 4.25),
        ({"quant_method": "torchao", "quant_type": "int8_weight_only"}, "int8", 8),
        ({"quant_method": "torchao", "quant_type": {"default": TORCHAO}}, "int4", 4.5),
        ({"quant_method": "hqq", "quant_config": HQQ}, "int4", 4.5),
        (quark(dtype="fp4", group_size=32), "mxfp4", 4.25),
        (quark(dtype="fp8_e4m3"), "fp8", 8),
        (quark(dtype="int4", group_size=128), "int4", 4.125),
    ],
)
def test_a_method_takes_its_bits_and_leaves_embedding_and_head_in_sixteen(
    quantization: dict[str, Any], dtype: str, expected: float
) -> None:
    found = read(quantization)
    assert found.weight_dtype == dtype
    assert bits(found) == pytest.approx(expected)


def test_mlx_quantises_embedding_and_head_too() -> None:
    found = model_from_config({**DENSE, "quantization": {"bits": 8, "group_size": 64}}, name="mlx")
    assert found.held.total == pytest.approx((TABLES + LINEAR) * 8.5 / 8 + 2 * SMALL)


def test_nvidias_file_beside_is_read_where_the_config_is_silent() -> None:
    beside = {"quantization": {"quant_algo": "FP8", "exclude_modules": ["lm_head"]}}
    assert read(None, beside=beside).weight_dtype == "fp8"
    assert read({"quant_method": "awq", "bits": 4}, beside=beside).weight_dtype == "int4"


@pytest.mark.parametrize(
    "ignored",
    [
        ["re:.*self_attn.*"],
        ["model.layers.*.self_attn*"],
        [f"model.layers.{layer}.self_attn" for layer in range(4)],
        [f"language_model.model.layers.{n}.self_attn.{part}" for n in range(4) for part in QKVO],
    ],
)
def test_modules_are_left_out_by_name_by_star_and_by_expression(ignored: list[str]) -> None:
    found = read({**group(**GROUP["weights"]), "ignore": ["lm_head", *ignored]})
    assert found.held.attention == pytest.approx(2 * (ATTENTION + SMALL))
    assert found.held.dense == pytest.approx(FEEDING * 4.125 / 8)


def test_a_name_is_not_the_beginning_of_another() -> None:
    found = read({"quant_method": "fp8", "modules_to_not_convert": ["gate", "model.layers.1"]})
    assert found.held.dense == FEEDING * 3 / 4 + 2 * FEEDING / 4


def test_mixed_precision_gives_each_module_its_own_type() -> None:
    gated = ("gate_proj", "up_proj", "down_proj")
    at = [f"model.layers.{n}" for n in range(4)]
    layers = {f"{layer}.mlp.{part}": {"quant_algo": "NVFP4"} for layer in at for part in gated}
    layers |= {f"{layer}.self_attn.{part}": {"quant_algo": "FP8"} for layer in at for part in QKVO}
    mixed = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}
    found = read({**mixed, "quantized_layers": layers})
    assert found.held.attention == ATTENTION + 2 * SMALL
    assert found.held.dense == FEEDING * 4.5 / 8
    assert found.weight_dtype == "nvfp4"


@pytest.mark.parametrize(
    "quantization",
    [
        {"quant_method": "vptq"},
        {"quant_method": "gguf"},
        {"quant_method": ""},
        {},
        {"quant_method": "modelopt", "quant_algo": "FP2"},
        {"quant_method": "compressed-tensors"},
        {"quant_method": "torchao", "quant_type": "uintx_weight_only"},
        group(num_bits=4, type="float", group_size=7),
        # Classes of modules, presets, and weights without their zeros.
        {**group(**GROUP["weights"]), "config_groups": {"g": {**GROUP, "targets": ["FusedMoE"]}}},
        {**group(**GROUP["weights"]), "config_groups": {"W4A16": ["Linear"]}},
        {**group(**GROUP["weights"]), "format": "marlin-24"},
        {**group(**GROUP["weights"]), "sparsity_config": {"format": "sparse-24-bitmask"}},
        # Kinds of modules, each with its own.
        {
            "quant_method": "hqq",
            "quant_config": {"self_attn.q_proj": HQQ, "mlp.down_proj": HQQ},
        },
        # AutoRound's other floats, ExLlama's bits, both tables, one number in two steps.
        auto_round("fp4_e2m1", bits=4, group_size=32),
        {"bits": 4.25, "head_bits": 6},
        {
            "quant_method": "torchao",
            "quant_type": {"default": TORCHAO},
            "include_input_output_embeddings": True,
        },
        {"quant_method": "quark", "global_quant_config": {"weight": [{"dtype": "fp8"}]}},
        {**quark(dtype="fp4"), "layer_type_quant_config": {"Embedding": {"dtype": "int8"}}},
    ],
)
def test_a_method_that_is_not_known_is_never_taken_for_sixteen_bits(
    quantization: dict[str, Any],
) -> None:
    found = read(quantization)
    assert found.weight_dtype == "unknown"
    assert not found.sized
    assert found.total_params == read(None).total_params
    assert "how its weights are stored is not known" in found.notes[0]


def test_a_plain_type_that_holds_no_weights_is_not_taken_for_sixteen_bits() -> None:
    assert read(None, torch_dtype="torch.float16").weight_dtype == "float16"
    found = read(None, torch_dtype="float8_e4m3fn")
    assert found.weight_dtype == "unknown"
    assert found.notes[0].startswith("dtype 'float8_e4m3fn': how its weights are stored")


@pytest.mark.parametrize(
    "overrides",
    [
        {"dynamic": {r"-:.*\.self_attn\..*": {}}},
        {"dynamic": {r".*\.self_attn\..*": {"bits": 16}}},
        {"extra_config": {r".*self_attn.*": {"bits": 16, "data_type": "fp"}}},
        {"extra_config": {f"model.layers.{n}.self_attn": {"bits": 16} for n in range(4)}},
        {"layer_quant_config": {"*self_attn*": None}},
    ],
)
def test_single_modules_are_told_apart_by_expression_by_name_and_by_null(
    overrides: dict[str, Any],
) -> None:
    found = read({"quant_method": "gptq", "bits": 4, "group_size": 128, **overrides})
    assert found.held.attention == 2 * (ATTENTION + SMALL)
    assert found.held.dense == pytest.approx(FEEDING * (4 + 20 / 128) / 8)


def test_model_optimizers_own_file_may_stand_inside_the_config() -> None:
    inside = {"quantization": {"quant_algo": "NVFP4", "exclude_modules": ["lm_head"]}}
    for outer in ({"quant_method": "modelopt"}, {"producer": {"name": "modelopt"}}):
        assert bits(read({**outer, **inside})) == 4.5


FLOAT8 = {"dynamic": False, "num_bits": 8, "type": "float"}
MLA = {
    "model_type": "deepseek_v3", "q_lora_rank": 32, "kv_lora_rank": 64, "qk_rope_head_dim": 16,
    "qk_nope_head_dim": 32, "v_head_dim": 32, "first_k_dense_replace": 4, "n_routed_experts": 8,
    "num_experts_per_tok": 2, "moe_intermediate_size": 64, "n_shared_experts": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "kept", "of_latents"),
    [
        # As vLLM 0.32 resolves `--kv-cache-dtype auto`.
        ({"quant_method": "modelopt", "kv_cache_quant_algo": "FP8"}, "fp8", "fp8"),
        ({"quant_method": "modelopt", "kv_cache_scheme": FLOAT8}, "fp8", "fp8"),
        ({"producer": {"name": "modelopt"}, "kv_cache_scheme": "FP8"}, "fp8", "fp8"),
        ({"quant_method": "modelopt", "kv_cache_quant_algo": "NVFP4"}, "nvfp4", None),
        ({"quant_method": "modelopt", "kv_cache_quant_algo": "INT8"}, None, None),
        ({"quant_method": "modelopt", "kv_cache_scheme": {**FLOAT8, "dynamic": True}}, None, None),
        ({"kv_cache_quant_algo": "FP8"}, None, None),  # without a method it reads nothing
        ({**group(**GROUP["weights"]), "kv_cache_scheme": FLOAT8}, "fp8", None),
        ({**quark(dtype="fp8_e4m3"), "kv_cache_group": ["*k_proj"]}, None, None),
    ],
)
def test_a_cache_is_counted_as_vllm_keeps_it_for_what_the_file_asks(
    asked: dict[str, Any], kept: str | None, of_latents: str | None
) -> None:
    asked = {"quant_algo": "FP8", **asked}
    for found, dtype in ((read(asked), kept), (read(asked, **MLA), of_latents)):
        assert found.kv_dtype == dtype
        wide = found.cache_bytes(1000, element_bytes=2.0)
        share = {None: 1.0, "fp8": 0.5, "nvfp4": 0.28125}[dtype]
        assert found.cache_bytes(1000) == pytest.approx(share * wide)
        word = "so vLLM keeps it" if dtype else "which vLLM does not keep"
        assert any(word in note for note in found.notes)


def test_model_optimizers_own_file_asks_for_a_cache_too_and_silence_asks_for_none() -> None:
    asked = {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}
    assert read(None, beside={"quantization": asked}).kv_dtype == "fp8"
    for silent in ({"quant_algo": "FP8", "kv_cache_quant_algo": None}, {"quant_method": "fp8"}):
        assert read(silent).kv_dtype is None
        assert not any("cache" in note for note in read(silent).notes)


def test_expressions_that_are_none_or_could_run_forever_are_refused() -> None:
    with pytest.raises(BadFile, match="no regular expression"):
        read({**group(**GROUP["weights"]), "ignore": ["re:("]})
    with pytest.raises(NotCounted, match="too long or too deep"):
        read({**group(**GROUP["weights"]), "ignore": ["re:(a+)+$"]})


scalars = st.none() | st.booleans() | st.integers(-2, 300) | st.text("afp48*:.", max_size=6)
objects = st.dictionaries(st.text("ab.", max_size=3), scalars, max_size=2)
KEYS = (
    "quant_method", "quant_algo", "bits", "group_size", "config_groups", "ignore",
    "weight_block_size", "quantized_layers", "dynamic", "extra_config", "layer_quant_config",
    "global_quant_config", "sparsity_config", "quantization", "quant_type",
)  # fmt: skip
shallow = scalars | st.lists(scalars, max_size=2) | objects
values = shallow | st.dictionaries(st.sampled_from(("weight", *KEYS)), shallow, max_size=2)


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(KEYS), values, max_size=5))
def test_any_quantisation_gives_bytes_the_unknown_or_a_bad_file(
    quantization: dict[str, Any],
) -> None:
    try:
        found = read(quantization)
    except BadFile as error:
        assert str(error).isprintable()
    else:
        assert not found.sized or 0 < found.held.total
