"""The partition search: what it enumerates, ranks and refuses."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.errors import BadValue, Infeasible
from catalog.hardware_table import gpu
from catalog.model_table import model
from perfmodel.autotune import Candidate, Goal, pareto_front, search, weight_bytes
from perfmodel.constants import ROOFLINE, VLLM_2026, Constants
from perfmodel.decode import DecodeModel, Pricing
from perfmodel.memory import memory
from perfmodel.partition import partitions
from perfmodel.shard import shard
from perfmodel.twin import dense_twin
from strategies.layout import Layout

NAMES = ["DeepSeek-V3", "Qwen3-30B-A3B", "LLaMA-65B", "gpt-oss-120b"]


def feasible(candidates: list[Candidate]) -> list[Candidate]:
    return [each for each in candidates if each.feasible]


@pytest.mark.parametrize("name", NAMES)
@given(gpus=st.integers(1, 200))
@settings(deadline=None, max_examples=25)
def test_every_partition_uses_all_gpus_and_divides_what_it_splits(name: str, gpus: int) -> None:
    spec, parts = model(name), partitions(model(name), gpus)
    assert np.all(parts.gpus == gpus)
    assert np.all((parts.kvp == 1) | (parts.cp == 1))
    assert np.all(spec.attention.heads % parts.tp == 0)
    assert np.all(parts.pp <= spec.layers)
    if spec.experts:
        assert np.all(spec.experts.count % parts.ep == 0)
        assert np.all(parts.slices * parts.ep == parts.stage)
        assert np.all(spec.experts.width % parts.slices == 0)
    rows = np.stack([parts.tp, parts.pp, parts.ep, parts.dp, parts.kvp, parts.cp])
    assert len(np.unique(rows, axis=1).T) == len(parts)


def test_weights_of_all_gpus_hold_each_expert_once() -> None:
    """One copy of all weights is what a layout of one GPU holds."""
    spec, parts = model("DeepSeek-V3"), partitions(model("DeepSeek-V3"), 64)
    held = weight_bytes(spec, parts, shard(spec, tp=parts.tp, context_ways=parts.context_ways))
    whole = memory(spec, Layout(), gpu("H200")).weight_bytes
    assert np.all(held * 64 >= whole * (1 - 1e-9) - spec.embedding_params)
    assert held.min() * 64 < whole * 1.3


@pytest.mark.parametrize("name", NAMES)
def test_best_come_first_and_the_infeasible_last_with_a_reason(name: str) -> None:
    rows = search(model(name), gpu("H100"), 32, goal=Goal(context=8192))
    rates = [row.tokens_per_s_per_gpu or 0.0 for row in rows]
    assert rates == sorted(rates, reverse=True)
    for row in rows:
        assert row.feasible == (row.latency_s is not None) == (row.batch > 0)
        assert row.why
        if row.feasible:
            assert row.batch <= row.b_max
            assert row.tokens_per_s == pytest.approx(row.batch / row.latency_s)
            assert "of the step is" in row.why
        else:
            assert "GB" in row.why


def test_the_same_search_serves_a_model_and_its_dense_twin() -> None:
    moe = model("DeepSeek-V3")
    twin = dense_twin(moe, 5)
    assert twin.total_params == pytest.approx(0.15625 * moe.total_params, rel=0.005)
    goal = Goal(context=131072)
    best = [search(each, gpu("B200"), 64, goal=goal)[0] for each in (moe, twin)]
    assert best[1].tokens_per_s_per_gpu > best[0].tokens_per_s_per_gpu
    assert best[1].ep == 1


def test_a_latency_limit_is_met_and_costs_throughput() -> None:
    free = search(model("DeepSeek-V3"), gpu("H200"), 64, goal=Goal(context=4096))
    limited = search(model("DeepSeek-V3"), gpu("H200"), 64, goal=Goal(context=4096, latency_s=0.04))
    assert all(row.latency_s <= 0.04 for row in feasible(limited))
    assert limited[0].tokens_per_s < free[0].tokens_per_s
    assert limited[0].batch < free[0].b_max


@pytest.mark.slow
@given(
    st.sampled_from(NAMES),
    st.floats(0.004, 0.2),
    st.sampled_from([1, 1000, 8192]),
    st.sampled_from([ROOFLINE, VLLM_2026]),
)
@settings(deadline=None, max_examples=12)
def test_under_a_latency_limit_no_batch_gives_more_than_the_one_chosen(
    name: str, limit_s: float, context: int, constants: Constants
) -> None:
    spec, h200, pricing = model(name), gpu("H200"), Pricing(constants=constants)
    rows = search(spec, h200, 8, goal=Goal(context=context, latency_s=limit_s), pricing=pricing)
    decode = DecodeModel(spec, partitions(spec, 8), h200, pricing)
    parts = decode.parts
    axes = list(zip(parts.tp, parts.pp, parts.ep, parts.dp, parts.kvp, parts.cp, strict=True))
    at = [axes.index((row.tp, row.pp, row.ep, row.dp, row.kvp, row.cp)) for row in rows]
    b_max, best = np.empty(len(rows)), np.empty(len(rows))
    b_max[at] = [row.b_max for row in rows]
    best[at] = [row.tokens_per_s or 0.0 for row in rows]
    for batch in [*range(1, 130), *np.geomspace(130, max(b_max.max(), 131), 120).astype(int)]:
        batches = np.full(len(rows), float(batch))
        total_s = decode.cost(batches, context).total_s
        met = (batches <= b_max) & (total_s <= limit_s)
        assert np.all(batch / total_s[met] <= best[met] * (1 + 1e-9))


def test_wide_expert_parallelism_is_what_the_search_finds_for_deepseek_on_64_gpus() -> None:
    """As published deployments lay it out: attention by data, one group of experts a GPU."""
    for context, latency_s in ((4096, None), (4096, 0.05), (32768, None), (32768, 0.05)):
        goal = Goal(context=context, latency_s=latency_s)
        rows = search(model("DeepSeek-V3"), gpu("H200"), 64, goal=goal)
        wide = next(row for row in rows if row.dp == row.ep == 64)
        assert wide.tokens_per_s > rows[0].tokens_per_s * 0.85


def test_a_batch_too_large_is_refused_with_what_fits() -> None:
    rows = search(model("LLaMA-65B"), gpu("H100"), 8, goal=Goal(context=4096, batch=10_000))
    assert not feasible(rows)
    assert any("batch 10000 is over the" in row.why for row in rows)


@pytest.mark.parametrize("most", [1, 200, 10**9])
def test_a_replica_takes_no_more_sequences_than_its_limit_and_the_row_says_what_binds(
    most: int,
) -> None:
    free, bound = (
        {row.name: row for row in search(model("Qwen3-30B-A3B"), gpu("H200"), 8, goal=goal)}
        for goal in (Goal(context=2000), Goal(context=2000, max_num_seqs=most))
    )
    for name, row in bound.items():
        assert row.b_max == min(free[name].b_max, most * row.dp)
        assert row.b_max_by == ("max_num_seqs" if row.b_max < free[name].b_max else "memory")
        assert free[name].b_max_by == "memory"


def test_a_batch_over_the_limit_of_all_replicas_is_refused_by_its_name() -> None:
    goal = Goal(context=100, batch=2049, max_num_seqs=256)
    rows = search(model("Qwen3-30B-A3B"), gpu("H200"), 8, goal=goal)
    assert not feasible(rows)
    assert "over the 2048 that replicas of 256 sequences each take" in {
        row.why.removeprefix("batch 2049 is ") for row in rows if row.dp == 8
    }


@given(st.integers(10, 17), st.integers(10, 17))
@settings(deadline=None, max_examples=15)
def test_more_context_never_admits_more_batch(one: int, other: int) -> None:
    short, long = sorted((2**one, 2**other))
    axes = ("tp", "pp", "ep", "dp", "kvp", "cp")
    batches = [
        {
            tuple(getattr(row, axis) for axis in axes): row.b_max
            for row in search(model("Qwen3-30B-A3B"), gpu("H100"), 8, goal=Goal(context=context))
        }
        for context in (short, long)
    ]
    assert all(batches[1][part] <= batches[0][part] for part in batches[0])


@given(st.floats(1, 8))
@settings(deadline=None, max_examples=15)
def test_more_bandwidth_is_never_slower(factor: float) -> None:
    spec, base = model("DeepSeek-V3"), gpu("H200")
    better = msgspec.structs.replace(
        base, bandwidth_bytes_per_s=base.bandwidth_bytes_per_s * factor
    )
    parts = partitions(spec, 64)
    batch = np.full(len(parts), 512.0)
    slow, fast = (DecodeModel(spec, parts, each).cost(batch, 8192) for each in (base, better))
    assert np.all(fast.total_s <= slow.total_s * (1 + 1e-12))


def test_no_step_reads_more_than_the_gpu_holds() -> None:
    spec, h200 = model("DeepSeek-V3"), gpu("H200")
    once = Pricing(constants=ROOFLINE)  # counts weights and cache, no activations
    rows = feasible(search(spec, h200, 64, goal=Goal(context=131072), pricing=once))
    parts = partitions(spec, 64)
    cost = DecodeModel(spec, parts, h200, once)
    axes = list(zip(parts.tp, parts.pp, parts.ep, parts.dp, parts.kvp, parts.cp, strict=True))
    batch = np.ones(len(parts))
    for row in rows:
        batch[axes.index((row.tp, row.pp, row.ep, row.dp, row.kvp, row.cp))] = row.batch
    moved = cost.cost(batch, 131072).moved_bytes
    assert np.all(moved[parts.pp == 1] <= h200.memory_bytes)


def test_the_faster_dispatch_of_two_is_the_best_one() -> None:
    spec, h200 = model("DeepSeek-V3"), gpu("H200")
    parts = partitions(spec, 64)
    batch = np.full(len(parts), 4096.0)
    best, gather, direct = (
        DecodeModel(spec, parts, h200, Pricing(dispatch=way)).cost(batch, 4096).communication_s
        for way in ("best", "gather", "all-to-all")
    )
    assert np.allclose(best, np.minimum(gather, direct))
    assert np.any(gather < direct)
    assert np.any(direct < gather)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6)), min_size=1, max_size=40))
def test_the_front_is_exactly_what_nothing_dominates(points: list[tuple[int, ...]]) -> None:
    rate = np.array([float(rate) for rate, _ in points])
    latency_s = np.array([float(latency) for _, latency in points])
    front = pareto_front(rate, latency_s)
    for i, (r, s) in enumerate(points):
        dominated = any((a >= r and b <= s) and (a > r or b < s) for a, b in points)
        assert front[i] == (r > 0 and not dominated)


@pytest.mark.parametrize(
    ("gpus", "goal", "error"),
    [(0, {"context": 1}, BadValue), (2048, {"context": 1}, BadValue), (7, {"context": 8}, None)],
)
def test_gpus_outside_the_range_are_refused_and_odd_numbers_are_not(
    gpus: int, goal: dict[str, int], error: type[Exception] | None
) -> None:
    if error is None:
        assert search(model("OLMoE-1B-7B"), gpu("H100"), gpus, goal=Goal(**goal))
        return
    with pytest.raises(error, match="1 to 1024"):
        search(model("OLMoE-1B-7B"), gpu("H100"), gpus, goal=Goal(**goal))


def test_a_number_of_gpus_nothing_divides_is_infeasible() -> None:
    with pytest.raises(Infeasible, match="no partition of 997 GPUs"):
        search(model("OLMoE-1B-7B"), gpu("H100"), 997, goal=Goal(context=128))


@pytest.mark.parametrize("wrong", [{"context": 0}, {"batch": 0}, {"latency_s": 0.0}])
def test_goals_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadValue):
        Goal(**{"context": 128, **wrong})


def test_a_twin_smaller_than_its_attention_is_refused() -> None:
    with pytest.raises(BadValue, match="exceeds attention"):
        dense_twin(model("Switch-C-2048"), 0.1)
    with pytest.raises(BadValue, match="one with experts"):
        dense_twin(model("LLaMA-65B"), 5)
