"""What a GPU must hold."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadValue, Infeasible
from catalog.hardware_table import gpu
from catalog.model_table import model
from catalog.models import Model
from perfmodel.memory import Conventions, memory
from perfmodel.serving import ServerSettings, server
from perfmodel.shard import shard
from strategies.layout import Layout
from strategies.parse import parse_layout

NAMES = ["Mixtral-8x7B", "OLMoE-1B-7B", "Qwen3-30B-A3B", "gpt-oss-20b", "DeepSeek-V3", "LLaDA-8B"]


@pytest.mark.parametrize(
    ("name", "kv_bytes"),
    [
        ("DeepSeek-V3", 1152),
        ("Qwen3-235B-A22B", 2048),
        ("Grok-1", 4096),
        ("Mixtral-8x7B", 4096),
        ("Qwen1.5-MoE-A2.7B", 8192),
        ("OLMoE-1B-7B", 8192),
        ("gpt-oss-120b", 2048),
        ("LLaDA-8B", 16384),
    ],
)
def test_cache_bytes_of_a_token_in_a_layer(name: str, kv_bytes: int) -> None:
    found = model(name)
    part = shard(found, tp=1)
    assert (part.kv_bytes_full + part.kv_bytes_windowed) / found.layers == kv_bytes


def test_latents_are_not_split_by_tensor_parallelism_and_heads_only_as_far_as_they_go() -> None:
    assert shard(model("DeepSeek-V3"), tp=8).kv_bytes_full == 61 * 1152
    assert shard(model("Qwen3-235B-A22B"), tp=8).kv_bytes_full == 94 * 2048 / 4


def weights_of(spec: Model) -> float:
    """Bytes of one copy of all weights: what a layout of one GPU holds."""
    return memory(spec, Layout(), gpu("H200")).weight_bytes


@pytest.mark.parametrize("name", NAMES)
def test_total_weights_are_the_parameters_at_their_width(name: str) -> None:
    spec = model(name)
    assert weights_of(spec) <= spec.total_params * 2.0
    if spec.expert_dtype is None:
        width = {"fp8": 1.0, "bfloat16": 2.0}[spec.weight_dtype]
        tables = spec.embedding_params * (2.0 - width)  # embedding and head keep 16 bits
        assert weights_of(spec) == pytest.approx(spec.total_params * width + tables)


@pytest.mark.parametrize("name", ["Mixtral-8x7B", "OLMoE-1B-7B", "Qwen3-30B-A3B", "DeepSeek-V3"])
@given(tp=st.sampled_from([1, 2, 4]), dp=st.sampled_from([1, 2]), pp=st.sampled_from([1]))
def test_expert_parallelism_never_changes_total_weights(
    name: str, tp: int, dp: int, pp: int
) -> None:
    sliced = memory(model(name), parse_layout(f"tp{tp}+dp{dp}+pp{pp}"), gpu("H200"))
    whole = memory(model(name), parse_layout(f"tp{tp}+dp{dp}+pp{pp}+ep"), gpu("H200"))
    assert whole.weight_bytes == pytest.approx(sliced.weight_bytes)
    assert whole.expert_bytes * tp * dp == pytest.approx(
        memory(model(name), parse_layout("tp1"), gpu("H200")).expert_bytes
    )


@given(st.integers(1, 200_000), st.integers(1, 200_000))
def test_more_context_never_admits_more_batch(context: int, more: int) -> None:
    budget = memory(model("gpt-oss-20b"), parse_layout("tp2"), gpu("H100"))
    assert budget.largest_batch(context + more) <= budget.largest_batch(context)


@given(st.integers(1, 100_000), st.floats(1, 4))
def test_a_larger_gpu_never_admits_less(context: int, factor: float) -> None:
    small = gpu("A100-80GB")
    large = msgspec.structs.replace(small, memory_bytes=small.memory_bytes * factor)
    budgets = [memory(model("OLMoE-1B-7B"), parse_layout("ep"), each) for each in (small, large)]
    assert budgets[1].largest_batch(context) >= budgets[0].largest_batch(context)


def test_the_batch_fills_the_gpu_and_one_more_does_not_fit() -> None:
    budget = memory(model("Mixtral-8x7B"), parse_layout("tp"), gpu("A100-80GB"))
    batch = budget.largest_batch(4096)
    per_sequence = budget.kv_bytes_per_sequence(4096)
    assert budget.weight_bytes + batch * per_sequence <= budget.usable_bytes
    assert budget.weight_bytes + (batch + 1) * per_sequence > budget.usable_bytes


def test_a_window_bounds_what_its_layers_keep() -> None:
    budget = memory(model("gpt-oss-20b"), parse_layout("single"), gpu("H100"))
    short, long = budget.kv_bytes_per_sequence(128), budget.kv_bytes_per_sequence(1280)
    assert short == 24 * 128 * 2048
    assert long == 12 * 128 * 2048 + 12 * 1280 * 2048


def test_uneven_experts_and_layers_count_for_the_fullest_gpu() -> None:
    qwen = model("Qwen1.5-MoE-A2.7B")
    eight = memory(qwen, parse_layout("dp8+ep"), gpu("H100"))
    one = memory(qwen, parse_layout("single"), gpu("H100"))
    assert eight.expert_bytes == pytest.approx(one.expert_bytes * 8 / 60)
    spread = memory(qwen, parse_layout("dp8+ep[eplb=4]"), gpu("H100"))
    assert spread.expert_bytes == eight.expert_bytes  # 64 over 8 is no fuller than 60 over 8


def test_weights_that_do_not_fit_are_named_with_their_size() -> None:
    with pytest.raises(Infeasible, match=r"weights take 87\.0 GiB .* 34\.0 GiB of 39\.5 GiB"):
        server(model("Mixtral-8x7B"), parse_layout("single"), gpu("A100-40GB"), longest=100)


def test_a_sequence_that_does_not_fit_is_named_with_its_size() -> None:
    spec = model("LLaDA-8B")
    with pytest.raises(Infeasible, match=r"one sequence of 1000000 tokens needs 488\.3 GiB"):
        server(spec, parse_layout("single"), gpu("A100-80GB"), longest=1_000_000)


def test_a_layout_that_does_not_divide_is_refused_with_its_reason() -> None:
    with pytest.raises(Infeasible, match="8 experts over 64 ranks"):
        server(model("Mixtral-8x7B"), parse_layout("dp64+ep"), gpu("H200"), longest=100)


def test_the_conventions_are_told_with_the_result() -> None:
    conventions = Conventions(usable_fraction=0.8, kv_dtype="fp8")
    budget = memory(model("Mixtral-8x7B"), parse_layout("tp"), gpu("H100"), conventions)
    text = "; ".join(budget.assumptions)
    for told in ("80% of memory", "KV cache in fp8", "2 ways by heads", "sliced over 2 GPUs"):
        assert told in text


@pytest.mark.parametrize(
    "wrong", [{"usable_fraction": 0}, {"usable_fraction": 1.1}, {"kv_dtype": "fp9"}]
)
def test_impossible_conventions_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadValue):
        Conventions(**wrong)


def test_a_server_holds_at_least_its_longest_sequence() -> None:
    built = server(
        model("OLMoE-1B-7B"),
        parse_layout("tp"),
        gpu("A100-80GB"),
        longest=1536,
        setup=ServerSettings(max_num_batched_tokens=512),
    )
    assert built.kv_tokens_capacity >= 1536
    assert built.limits.max_num_batched_tokens == 512
