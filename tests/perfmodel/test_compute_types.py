"""Storage is one thing, arithmetic another: weights are multiplied in units that the GPU has."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.from_hf import model_from_config
from catalog.hardware import Gpu
from catalog.hardware_table import GPUS
from catalog.model_table import MODELS
from catalog.models import Model
from catalog.units import DTYPE_BYTES
from perfmodel.constants import ROOFLINE
from perfmodel.experts import UNIFORM
from perfmodel.floor import compute_s
from perfmodel.load import decode_load, prefill_load
from perfmodel.phases import Phases
from perfmodel.shard import shard
from strategies import parse_layout

A100, H100, H200, B200 = (GPUS[name] for name in ("A100-80GB", "H100", "H200", "B200"))
NARROW = ("int4", "int3", "int2", "nvfp4", "mxfp4")
QWEN, DEEPSEEK = MODELS["Qwen3-30B-A3B"], MODELS["DeepSeek-V3"]


W8 = {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "int", "strategy": "channel"}}
A8 = {"input_activations": {"num_bits": 8, "type": "int", "dynamic": True}}
CONFIG: dict[str, object] = {
    "model_type": "llama", "hidden_size": 512, "num_hidden_layers": 2, "vocab_size": 1000,
    "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 1024,
    "max_position_embeddings": 4096, "tie_word_embeddings": False, "rms_norm_eps": 1e-6,
}  # fmt: skip


def phases_of(model: Model, gpu: Gpu, layout: str = "single") -> Phases:
    return Phases(
        model, parse_layout(layout), gpu, constants=ROOFLINE, routing=UNIFORM, kv_dtype=None
    )


def prefill_s(dtype: str, gpu: Gpu, tokens: int = 4096) -> float:
    model = QWEN.held_in(dtype, dtype)
    phases, load = phases_of(model, gpu), prefill_load(1, tokens)
    parts = [*phases.local(load.tokens, sampled=1), phases.experts(load.tokens)]
    return sum(float(each.seconds) for each in parts if each is not None)


@pytest.mark.parametrize(
    ("gpu", "stored", "computed"),
    [
        *((A100, dtype, "bfloat16") for dtype in (*NARROW, "fp8", "bfloat16")),
        *((H100, dtype, "bfloat16") for dtype in NARROW),
        *((B200, dtype, "bfloat16") for dtype in ("int4", "mxfp4")),
        (H100, "fp8", "fp8"),
        (B200, "nvfp4", "fp4"),
        (GPUS["V100-32GB"], "bfloat16", "float16"),
    ],
)
def test_weights_are_multiplied_in_units_that_the_gpu_has(
    gpu: Gpu, stored: str, computed: str
) -> None:
    assert gpu.computing_dtype(stored) == computed


@pytest.mark.parametrize("dtype", ["int4", "fp8", "nvfp4", "mxfp4"])
def test_a_long_prompt_on_an_a100_is_no_faster_for_narrow_weights(dtype: str) -> None:
    assert prefill_s(dtype, A100, 65536) == pytest.approx(prefill_s("bfloat16", A100, 65536))


@pytest.mark.parametrize(
    ("quantised", "faster"),
    [
        ({"quant_method": "gptq", "bits": 8, "group_size": 128}, False),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": W8 | A8}}, True),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": W8}}, False),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, True),
    ],
)
def test_8_bit_integers_are_fast_only_where_activations_are_integers_too(
    quantised: dict[str, object], faster: bool
) -> None:
    model = model_from_config(CONFIG | {"quantization_config": quantised}, name="int8")
    plain = model_from_config(CONFIG, name="plain")
    load = prefill_load(1, 2048)
    (one, *_), (two, *_) = (
        phases_of(m, A100).local(load.tokens, sampled=1) for m in (model, plain)
    )
    assert model.weight_dtype == "int8"
    assert float(one.compute_s) == pytest.approx(float(two.compute_s) / (2 if faster else 1))


def test_a_decode_step_reads_narrow_bytes_all_the_same() -> None:
    wide, narrow = (phases_of(QWEN.held_in(d, d), A100).experts(1.0) for d in ("bfloat16", "int4"))
    assert wide is not None
    assert narrow is not None
    assert narrow.moved_bytes == pytest.approx(wide.moved_bytes / 4)


@given(
    gpu=st.sampled_from(list(GPUS.values())),
    dtype=st.sampled_from(sorted(DTYPE_BYTES)),
    tokens=st.integers(1, 100_000),
)
def test_no_phase_beats_the_peak_of_the_type_it_computes_in(
    gpu: Gpu, dtype: str, tokens: int
) -> None:
    model = QWEN.held_in(dtype, dtype)
    phases = phases_of(model, gpu)
    experts, (projections, *_) = phases.experts(tokens), phases.local(tokens, sampled=1)
    assert experts is not None
    computed = gpu.computing_dtype("bfloat16" if dtype == "int8" else dtype)
    peak = gpu.flops_per_s[computed]
    for each in (experts, projections):
        assert each.seconds >= each.flops / peak * (1 - 1e-12)
    assert gpu.most_flops_per_s(dtype) >= peak


def test_every_rank_holds_and_computes_latent_attentions_down_projections() -> None:
    one, eight = shard(DEEPSEEK, tp=1), shard(DEEPSEEK, tp=8)
    attention = DEEPSEEK.attention
    down = attention.matrices(DEEPSEEK.hidden)
    copied = DEEPSEEK.layers * (down["q_a_proj"] + down["kv_a_proj_with_mqa"] + 1536 + 512)
    share = copied / DEEPSEEK.attention_params
    assert eight.attention_bytes == pytest.approx(one.attention_bytes * (1 + 7 * share) / 8)
    assert eight.attention_flops == pytest.approx(one.attention_flops * (1 + 7 * share) / 8)
    grouped = shard(QWEN, tp=4)
    assert grouped.attention_bytes == pytest.approx(shard(QWEN, tp=1).attention_bytes / 4)


def test_a_prompt_scores_full_heads_and_decoding_scores_latents() -> None:
    phases = phases_of(DEEPSEEK, H200)
    heads, layers = 128, 61
    prompt, answer = prefill_load(1, 1000), decode_load(1, 999)
    ahead = np.zeros(1)
    full = 2 * layers * heads * (128 + 64 + 128) * prompt.pairs
    latent = 2 * layers * heads * (2 * 512 + 64) * answer.pairs
    assert phases.attention(prompt, ahead).flops == pytest.approx(full)
    assert phases.attention(answer, ahead).flops == pytest.approx(latent)


def test_a_later_chunk_widens_the_latents_before_it_again() -> None:
    phases = phases_of(DEEPSEEK, H200)
    ahead = np.zeros(1)
    later = prefill_load(1, 100, context=900)
    pairs = 2 * 61 * 128 * (128 + 64 + 128) * later.pairs
    widened = 2 * 61 * 512 * 128 * (128 + 128) * 900
    assert phases.attention(later, ahead).flops == pytest.approx(pairs + widened)


def test_sparse_attention_keeps_latents_in_prompts_too() -> None:
    sparse = msgspec.structs.replace(DEEPSEEK.attention, top_k=2048)
    assert sparse.prompt_score_width == sparse.score_width
    assert sparse.widening == 0


def test_the_floor_of_a_prompt_is_that_of_the_cheaper_form() -> None:
    load = prefill_load(1, 8192)
    latents = replace(load, prompt_pairs=0)
    assert compute_s(DEEPSEEK, H200, load) < 0.7 * compute_s(DEEPSEEK, H200, latents)
