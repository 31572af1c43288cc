"""Bytes and operations of each phase against the counts they are made of."""

import math
from statistics import NormalDist

import msgspec
import numpy as np
import pytest

from catalog.hardware_table import gpu
from catalog.model_table import model
from perfmodel.constants import ROOFLINE, VLLM_2026, Constants
from perfmodel.experts import UNIFORM, busiest_share, by_chance, inclusion, touched
from perfmodel.load import decode_load, prefill_load
from perfmodel.phases import PhaseCost, Phases
from strategies.parse import parse_layout

H100 = gpu("H100")
# 64 experts of 3·2048·1024 parameters in two bytes, 8 chosen, in each of 16 layers.
OLMOE = model("OLMoE-1B-7B")
EXPERT = 3 * 2048 * 1024 * 2


def phases(layout: str, constants: Constants = ROOFLINE, name: str = "OLMoE-1B-7B") -> Phases:
    return Phases(
        model(name), parse_layout(layout), H100, constants=constants, routing=UNIFORM,
        kv_dtype=None,
    )  # fmt: skip


def experts(layout: str, tokens: float, constants: Constants = ROOFLINE) -> PhaseCost:
    found = phases(layout, constants).experts(tokens)
    assert found is not None
    return found


@pytest.mark.parametrize("layout", ["single", "tp4", "dp4+ep", "tp2+dp2+ep"])
def test_a_batch_reads_the_experts_it_touches_and_computes_its_pairs(layout: str) -> None:
    ranks = parse_layout(layout).num_gpus
    # 32 tokens of eight in 64: each expert is left out with (1 − 1/8)^32.
    hit = 64 * (1 - (7 / 8) ** 32)
    found = experts(layout, 32)
    assert found.moved_bytes == pytest.approx(16 * hit * EXPERT / ranks)
    # Two operations a parameter and token-expert pair.
    assert found.flops == pytest.approx(16 * 32 * 8 * EXPERT / ranks)
    assert found.memory_s == pytest.approx(found.moved_bytes / (H100.bandwidth_bytes_per_s * 0.8))
    assert found.compute_s == pytest.approx(found.flops / (H100.peak_flops_per_s("bfloat16") * 0.6))


def test_one_token_reads_its_own_experts_and_very_many_read_all() -> None:
    assert experts("single", 1).moved_bytes == pytest.approx(16 * 8 * EXPERT)
    assert experts("single", 10_000).moved_bytes == pytest.approx(16 * 64 * EXPERT)


def test_the_busiest_rank_has_what_chance_gives_it() -> None:
    """Blom: the largest of four normals is Φ⁻¹(3.625/4.25); drawn from 64, by less of it."""
    chance = msgspec.structs.replace(ROOFLINE, independent_routing=True)
    even, uneven = experts("dp4+ep", 32), experts("dp4+ep", 32, chance)
    hit, pairs = 64 * (1 - (7 / 8) ** 32), 32 * 8
    largest = NormalDist().inv_cdf(3.625 / 4.25)
    more_hit = 1 + largest * math.sqrt(4 / hit * (1 - hit / 64))
    assert uneven.moved_bytes / even.moved_bytes == pytest.approx(min(hit * more_hit, 64) / hit)
    assert uneven.flops / even.flops == pytest.approx(1 + largest * math.sqrt(4 / pairs))
    few = experts("dp4+ep", 1, chance).moved_bytes / experts("dp4+ep", 1).moved_bytes
    assert few == pytest.approx(1 + largest * math.sqrt(4 / 8 * (1 - 8 / 64)))
    assert by_chance(5, 1) == 1.0
    assert by_chance(1e-9, 4) == 4.0
    assert by_chance(64, 4, of=64) == 1.0


def test_each_touched_expert_costs_its_slice() -> None:
    sliced = msgspec.structs.replace(ROOFLINE, slice_s=1e-6)
    hit = 64 * (1 - (7 / 8) ** 32)
    for layout, whole in (("single", 1), ("tp4", 1), ("dp4+ep", 4)):
        more = experts(layout, 32, sliced).memory_s - experts(layout, 32).memory_s
        assert more == pytest.approx(16 * hit / whole * 1e-6)


def test_attention_reads_the_cache_and_scores_its_pairs() -> None:
    """16 heads of 128: keys and values are 4096 elements of two bytes in each of 16 layers."""
    found = phases("single").attention(decode_load(8, 999), np.arange(3.0))
    assert np.asarray(found.moved_bytes).tolist() == pytest.approx(
        [16 * 8192 * 8 * (1000 + step) for step in range(3)]
    )
    # A multiply-add is two operations: of 2·16·128 for each pair.
    assert np.asarray(found.flops).tolist() == pytest.approx(
        [16 * 2 * 4096 * 8 * (1000 + step) for step in range(3)]
    )
    halved = phases("tp2").attention(decode_load(8, 999), np.zeros(1))
    assert float(np.sum(halved.moved_bytes)) == pytest.approx(16 * 8192 * 8 * 1000 / 2)
    parts = phases("single").attention(decode_load(8, 999), np.zeros(1), ways=4)
    assert float(np.sum(parts.moved_bytes)) == pytest.approx(16 * 8192 * 8 * 1000 / 4)


def test_windowed_layers_read_no_more_than_their_window() -> None:
    """gpt-oss-20b: 12 layers see all, 12 see 128 tokens; 8 KV heads of 64 in two bytes."""
    found = phases("single", name="gpt-oss-20b").attention(
        decode_load(2, 999, window=128), np.arange(2.0)
    )
    token = 2 * 8 * 64 * 2
    assert np.asarray(found.moved_bytes).tolist() == pytest.approx(
        [12 * token * 2 * 1000 + 12 * token * 2 * 128, 12 * token * 2 * 1001 + 12 * token * 2 * 128]
    )
    filling = phases("single", name="gpt-oss-20b").attention(
        decode_load(2, 99, window=128), np.arange(2.0)
    )
    assert np.asarray(filling.moved_bytes).tolist() == pytest.approx(
        [24 * token * 2 * 100, 24 * token * 2 * 101]
    )


def test_a_prompt_scores_a_triangle() -> None:
    found = phases("single").attention(prefill_load(2, 100), np.zeros(1))
    assert float(np.sum(found.flops)) == pytest.approx(16 * 2 * 4096 * 2 * 5050)


def test_local_phases_are_those_that_the_model_has() -> None:
    names = [phase.name for phase in phases("single").local(8, sampled=8)]
    assert names == ["projections", "dense", "head"], "its routers are a dense part"
    routed = phases("single").local(8, sampled=0)
    assert [phase.name for phase in routed] == ["projections", "dense"]
    # 64 rows of 2048 in each of 16 layers.
    assert routed[1].moved_bytes == pytest.approx(2 * 16 * 64 * 2048)
    assert routed[1].flops == pytest.approx(2 * 16 * 64 * 2048 * 8)
    passing = phases("single", VLLM_2026).local(8, sampled=8)
    assert [phase.name for phase in passing] == ["projections", "dense", "tokens", "head"]
    # So many passes over 2048 elements of two bytes, in 16 layers, for 8 tokens.
    passes = VLLM_2026.token_passes
    assert passes > 1
    assert passing[2].moved_bytes == pytest.approx(passes * 16 * 2048 * 2 * 8)
    assert passing[2].flops == 0.0
    head = phases("single").local(8, sampled=8)[-1]
    vocab = OLMOE.vocab * 2048
    assert (head.moved_bytes, head.flops) == pytest.approx((2 * vocab, 2 * vocab * 8))


def test_work_is_split_over_micro_batches_and_a_rank_computes_one_token_at_least() -> None:
    whole, quarter = (phases("single").local(8, sampled=8, ways=ways) for ways in (1, 4))
    assert quarter[0].flops == pytest.approx(whole[0].flops / 4)
    assert quarter[0].moved_bytes == whole[0].moved_bytes
    assert quarter[-1].flops == pytest.approx(whole[-1].flops / 4)
    least = phases("single").local(0, sampled=0)
    assert least[0].flops == pytest.approx(whole[0].flops / 8)


@pytest.mark.parametrize(("memory", "compute", "serial", "seconds", "bound"), [
    (3.0, 2.0, False, 3.0, (3.0, 0.0)), (2.0, 3.0, False, 3.0, (0.0, 3.0)),
    (2.0, 2.0, False, 2.0, (2.0, 0.0)), (3.0, 2.0, True, 5.0, (3.0, 2.0)),
])  # fmt: skip
def test_reading_and_computing_overlap_or_follow_each_other(
    memory: float, compute: float, serial: bool, seconds: float, bound: tuple[float, float]
) -> None:
    cost = PhaseCost("dense", 0.0, 0.0, memory, compute, serial)
    assert cost.seconds == seconds
    assert tuple(map(float, cost.by_bound)) == bound


def test_popular_experts_are_in_more_tokens_and_never_in_more_than_all() -> None:
    even = inclusion(8, 2)
    assert even.tolist() == pytest.approx([0.25] * 8)
    # 1 : 1/2 : 1/3 : 1/4 of two places; the first is in every token, the rest share one.
    skewed = inclusion(4, 2, zipf=1.0)
    rest = np.array([1 / 2, 1 / 3, 1 / 4])
    assert skewed.tolist() == pytest.approx([0.96, 0.48, 0.32, 0.24])
    assert inclusion(4, 3, zipf=1.0).tolist() == pytest.approx(
        [1.0, *np.minimum(1.0, 2 * rest / rest.sum()).tolist()], rel=0.02
    )
    assert busiest_share(4, 2, 2) == 1.0
    assert busiest_share(4, 2, 1) == 1.0
    assert touched(8, 2, 3) == pytest.approx(8 * (1 - 0.75**3))
