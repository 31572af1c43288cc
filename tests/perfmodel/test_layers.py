"""Models whose layers differ: memory, steps and capacity sum over them."""

import msgspec
import numpy as np
import pytest

from catalog.hardware_table import gpu
from catalog.models import (
    Block,
    Dense,
    Experts,
    FixedState,
    GroupedQueryAttention,
    Indexer,
    LatentAttention,
    Model,
)
from perfmodel.capacity import ClusterSplit, kv_bytes_per_gpu
from perfmodel.constants import VLLM_2026
from perfmodel.decode import DecodeModel, Pricing
from perfmodel.floor import decode_step_s
from perfmodel.load import decode_load
from perfmodel.memory import memory
from perfmodel.partition import partitions
from perfmodel.shard import picked_heads, shard
from perfmodel.step import StepModel
from perfmodel.twin import dense_twin
from strategies.feasible import layout_violations
from strategies.parse import parse_layout

FULL = GroupedQueryAttention(heads=16, kv_heads=8, head_dim=128)
NEAR = msgspec.structs.replace(FULL, window=1024, kv_heads=4)
STATE = FixedState(
    kind="mamba2",
    heads=32,
    projections=(("in_proj", 2048 * 8192), ("out_proj", 4096 * 2048)),
    small=4096,
    state_elements=32 * 128 * 128,
)
FEED = (Dense(width=8192),)


def hybrid(**changes: object) -> Model:
    model = Model(
        name="hybrid",
        hf_id=None,
        layers=12,
        hidden=2048,
        vocab=32000,
        attention=FULL,
        experts=None,
        dense_width=8192,
        blocks=(
            Block(count=2, mixers=(FULL,), dense=FEED, other=4096),
            Block(count=4, mixers=(NEAR,), dense=FEED, other=4096),
            Block(count=6, mixers=(STATE,), dense=FEED, other=4096),
        ),
        tied_embeddings=False,
        max_context=100_000,
    )
    return msgspec.structs.replace(model, **changes)


@pytest.mark.parametrize("tp", [1, 2, 8])
def test_cache_and_state_are_each_split_as_far_as_they_can_be(tp: int) -> None:
    part = shard(hybrid(), tp=tp)
    assert part.kv_bytes_full == 2 * 2 * 2 * 8 * 128 / tp
    assert part.kv_bytes_windowed == 4 * 2 * 2 * 4 * 128 / min(tp, 4)
    assert part.state_bytes == 6 * 2 * STATE.state_elements / tp


def test_a_sequence_holds_its_state_however_short_it_is() -> None:
    budget = memory(hybrid(), parse_layout("single"), gpu("H200"))
    state = 6 * 2 * STATE.state_elements
    growing, near = 2 * 2 * 2 * 8 * 128, 4 * 2 * 2 * 4 * 128
    assert budget.kv_bytes_per_sequence(10) == state + 10 * (growing + near)
    assert budget.kv_bytes_per_sequence(5000) == state + 5000 * growing + 1024 * near
    assert budget.kv_bytes_per_sequence(5000) == hybrid().cache_bytes(5000)


def test_the_qs_cluster_counts_the_same_cache() -> None:
    split = ClusterSplit(gpus=8, memory_bytes=80e9, tp=8)
    state, full = 6 * 2 * STATE.state_elements / 8, 5000 * 2 * 2 * 2 * 8 * 128 / 8
    near = 1024 * 4 * 2 * 2 * 4 * 128 / 4
    assert kv_bytes_per_gpu(hybrid(), 5000, split) == pytest.approx(state + full + near)


def test_layers_with_a_state_do_not_slow_down_with_the_context() -> None:
    stateful = hybrid(blocks=(Block(count=12, mixers=(STATE,), dense=FEED),))
    step = StepModel(stateful, parse_layout("single"), gpu("H200"))
    short, long = (step.times([decode_load(64, context)]).memory_s[0] for context in (10, 90_000))
    assert short == pytest.approx(long)
    assert long > decode_step_s(stateful, gpu("H200"), 1, batch=64, context=90_000) * 0.5


def sparse(top_k: int | None) -> Model:
    attention = LatentAttention(
        heads=16,
        kv_rank=512,
        rope_dim=64,
        nope_dim=128,
        value_dim=128,
        query_rank=1024,
        index=Indexer(heads=8, head_dim=128) if top_k else None,
        top_k=top_k,
    )
    return hybrid(attention=attention, blocks=(Block(count=12, mixers=(attention,), dense=FEED),))


def test_a_sparse_layer_holds_all_of_its_cache_and_reads_what_its_indexer_picks() -> None:
    part, dense = shard(sparse(2048), tp=1), shard(sparse(None), tp=1)
    index = 12 * (128 + 4)
    assert part.kv_bytes_full == dense.kv_bytes_full + index
    assert part.read_bytes_full == index
    assert part.read_bytes_near == dense.read_bytes_full
    assert sparse(2048).reach == 2048
    assert sparse(2048).window is None


def test_every_rank_scores_all_index_heads_and_at_least_a_whole_tile_of_picked_latents() -> None:
    """Per layer 8 index heads of 128, and 64 heads of 2 · 512 + 64 where a rank has 16 / tp."""
    for tp in (1, 2, 8):
        part = shard(sparse(2048), tp=tp, least_heads=64)
        assert part.flops_per_index_pair == 2 * 12 * 8 * 128
        assert part.logit_bytes_per_pair == 12 * 2 * 4
        assert part.flops_per_pair_full == 0
        assert part.flops_per_pair_windowed == 2 * 12 * 64 * (2 * 512 + 64)
        exact = shard(sparse(2048), tp=tp)
        assert exact.flops_per_pair_windowed == 2 * 12 * 16 * (2 * 512 + 64) / tp
        dense = shard(sparse(None), tp=tp, least_heads=64)
        assert dense.flops_per_pair_full == exact.flops_per_pair_windowed
        assert dense.flops_per_index_pair == dense.logit_bytes_per_pair == 0
    assert (picked_heads(gpu("H200")), picked_heads(gpu("B200"))) == (64, 1)


def test_a_sparse_step_by_hand_in_both_models_of_a_step() -> None:
    """Three sequences of 10,000 tokens on one H200: 30,003 pairs are indexed, 6,144 attended."""
    h200, layout = gpu("H200"), parse_layout("single")
    load = decode_load(3, 10_000, window=2048)
    step = StepModel(sparse(2048), layout, h200, constants=VLLM_2026)
    cost = step.phases.attention(load, np.zeros(1))
    picked = 3 * 2048 * 2 * 12 * 64 * (2 * 512 + 64) / h200.flops_per_s["bfloat16"]
    indexed = 30_003 * 2 * 12 * 8 * 128 / h200.flops_per_s["fp8"]
    assert cost.compute_s == pytest.approx((picked + indexed) / 0.40)
    keys = 12 * (3 * 2048 * 2 * (512 + 64) + 30_003 * (128 + 4))
    moved = keys + 30_003 * 12 * 2 * 4
    assert cost.memory_s == pytest.approx(moved / (0.80 * h200.bandwidth_bytes_per_s))
    searched = DecodeModel(
        sparse(2048), partitions(sparse(2048), 1), h200, Pricing(constants=VLLM_2026)
    )
    found = searched.cost(np.array([3.0]), 10_001)
    assert found.compute_s[0] == pytest.approx(cost.compute_s)
    assert found.memory_s[0] == pytest.approx(cost.memory_s)


def test_every_kind_of_head_must_divide_over_tensor_parallel_ranks() -> None:
    odd = msgspec.structs.replace(STATE, heads=6)
    found = hybrid(blocks=(*hybrid().blocks[:2], Block(count=6, mixers=(odd,), dense=FEED)))
    assert layout_violations(parse_layout("tp2"), found) == ()
    assert layout_violations(parse_layout("tp4"), found) == (
        "6 heads of state are not divisible by tp = 4",
    )


def test_the_dense_twin_of_a_model_of_unlike_layers_keeps_their_attention() -> None:
    routed = hybrid(
        experts=Experts(count=64, top_k=8, width=2048, layers=12),
        blocks=tuple(
            msgspec.structs.replace(block, dense=(), routed=True) for block in hybrid().blocks
        ),
    )
    twin = dense_twin(routed, 3.0)
    assert twin.experts is None
    assert [block.mixers for block in twin.stack] == [block.mixers for block in routed.stack]
    assert twin.total_params == pytest.approx(3 * 8 / 64 * routed.total_params, rel=0.05)
