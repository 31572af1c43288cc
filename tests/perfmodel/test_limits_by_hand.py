"""Floors, batches and budgets put to numbers that a reader can check on paper."""

from typing import Any

import msgspec
import numpy as np
import pytest

from catalog.errors import BadValue, Infeasible
from catalog.hardware_table import gpu
from catalog.model_table import model
from catalog.models import Block, Experts, FixedState, GroupedQueryAttention, Model
from perfmodel.autotune import Goal, pareto_front, search
from perfmodel.batching import Batcher, BatchLimits
from perfmodel.capacity import ClusterSplit, kv_bytes_per_gpu, largest_batch, weight_bytes_per_gpu
from perfmodel.floor import Claim, Floor, floor, impossible
from perfmodel.memory import memory
from strategies.layout import Layout

A100 = gpu("A100-80GB")
# Embedding and head 2·1000·100; attention 4·100² and two norms; dense 3·100·300; a final norm.
SMALL = Model(
    name="small", hf_id=None, layers=1, hidden=100, vocab=1000, dense_width=300, experts=None,
    attention=GroupedQueryAttention(heads=10, kv_heads=10, head_dim=10), tied_embeddings=False,
    max_context=4096,
)  # fmt: skip
# A decode step reads all but the input table, in two bytes, and 11 entries of 200 elements.
READ = 2 * (1000 * 100 + 40_000 + 90_000 + 300) + 2 * 200 * 11


def limit(prompt: int, output: int, count: int, together: int | None, gpus: int = 1) -> Floor:
    return floor(SMALL, A100, gpus, Claim(prompt, output, count, together))


def test_a_token_takes_at_least_what_its_bytes_take() -> None:
    found = limit(10, 5, 1, 1)
    assert found.mean_itl_s == pytest.approx(READ / A100.bandwidth_bytes_per_s, rel=1e-3)
    assert limit(10, 5, 1, 1, gpus=4).mean_itl_s == pytest.approx(found.mean_itl_s / 4)


def test_the_floor_of_the_first_token_counts_who_waits_for_whom() -> None:
    """Long prompts are computed one after another: the k-th of a wave waits for k of them."""
    one = limit(4000, 5, 1, 1).mean_ttft_s
    assert limit(4000, 5, 1, 1, gpus=2).mean_ttft_s == pytest.approx(one / 2)
    assert limit(4000, 5, 4, 4).mean_ttft_s == pytest.approx(one * (1 + 2 + 3 + 4) / 4)
    # Sixteen more come when a slot is free, each for its own prompt.
    assert limit(4000, 5, 20, 4).mean_ttft_s == pytest.approx(one * (1 + 2 + 3 + 4 + 16) / 20)
    assert limit(4000, 5, 3, 64).mean_ttft_s == pytest.approx(one * (1 + 2 + 3) / 3)
    # Of an open loop nothing is known of who came together.
    assert limit(4000, 5, 20, None).mean_ttft_s == pytest.approx(one)


def test_prompts_too_short_to_fill_the_gpu_wait_for_the_weights() -> None:
    assert limit(1, 5, 20, 4).mean_ttft_s == pytest.approx(limit(1, 5, 1, 1).mean_ttft_s)


def test_no_more_tokens_a_second_than_the_steps_of_full_waves_give() -> None:
    # Ten requests one by one: four steps after each first token.
    one = limit(1, 5, 10, 1)
    step_s = one.mean_itl_s
    assert one.output_throughput == pytest.approx(10 * 5 / (10 * 4 * step_s), rel=0.02)
    # In waves of four: three waves.
    waves = limit(1, 5, 10, 4)
    assert waves.output_throughput == pytest.approx(10 * 5 / (3 * 4 * step_s), rel=0.05)
    assert limit(1, 5, 10, 4, gpus=2).output_throughput == pytest.approx(
        2 * waves.output_throughput, rel=1e-6
    )
    whole = limit(1, 5, 10, None)
    assert whole.output_throughput == pytest.approx(10 * 5 / (4 * step_s), rel=0.1)


def test_what_is_just_within_a_limit_is_possible_and_what_is_just_beyond_is_not() -> None:
    least = limit(100, 5, 8, 2)
    for share, metrics in ((1 + 1e-9, 0), (1 - 1e-9, 3)):
        claim = Claim(
            100, 5, 8, 2, least.mean_ttft_s * share, least.mean_itl_s * share,
            least.output_throughput / share,
        )  # fmt: skip
        assert len(impossible(SMALL, A100, 1, claim)) == metrics
    slack = Claim(100, 5, 8, 2, least.mean_ttft_s * 0.96, least.mean_itl_s * 0.94,
                  least.output_throughput * 1.04)  # fmt: skip
    assert [each.metric for each in impossible(SMALL, A100, 1, slack, slack=0.05)] == ["mean_itl_s"]
    assert impossible(SMALL, A100, 1, Claim(100, 5, 8, 2)) == ()


def test_the_scheduler_s_own_defaults_are_the_server_s() -> None:
    limits = BatchLimits(kv_blocks=7)
    assert (limits.block_tokens, limits.max_num_batched_tokens, limits.max_num_seqs) == (
        16, 2048, 256,
    )  # fmt: skip
    assert (limits.prefix_cached, limits.window) == (False, None)
    assert BatchLimits(kv_blocks=1, block_tokens=1, max_num_batched_tokens=1, max_num_seqs=1)
    for name in ("kv_blocks", "block_tokens", "max_num_batched_tokens", "max_num_seqs"):
        with pytest.raises(BadValue, match=name):
            BatchLimits(**{"kv_blocks": 1, name: 0})
    with pytest.raises(BadValue, match="at most max_num_batched_tokens = 8"):
        BatchLimits(kv_blocks=1, max_num_batched_tokens=8, max_num_seqs=9)


def test_a_batcher_tells_what_it_holds() -> None:
    batcher = Batcher(BatchLimits(kv_blocks=4, block_tokens=4, max_num_seqs=1))
    batcher.add(1, prompt_tokens=5, output_tokens=2)
    batcher.add(2, prompt_tokens=3, output_tokens=1)
    assert (batcher.num_running, batcher.num_waiting, batcher.num_unfinished) == (0, 2, 2)
    step = batcher.plan()
    assert step is not None
    assert (batcher.num_running, batcher.num_waiting, batcher.num_unfinished) == (1, 1, 2)
    assert batcher.kv_usage == batcher.peak_kv_usage == 0.5
    assert batcher.commit(step) == [(1, False)]
    step = batcher.plan()
    assert step is not None
    assert batcher.commit(step) == [(1, True)]
    assert (batcher.num_running, batcher.num_waiting, batcher.num_unfinished) == (0, 1, 1)
    assert (batcher.kv_usage, batcher.peak_kv_usage) == (0.0, 0.5)
    with pytest.raises(ValueError, match="request 2 is already here"):
        batcher.add(2, prompt_tokens=1, output_tokens=1)
    with pytest.raises(Infeasible, match="a request of 17 tokens: the KV cache holds 16"):
        batcher.add(3, prompt_tokens=10, output_tokens=8)
    batcher.add(3, prompt_tokens=10, output_tokens=7)


@pytest.mark.parametrize(("prompt", "cached", "computed"), [
    (10, 0, 10), (10, 3, 10), (10, 4, 6), (10, 7, 6), (10, 9, 2), (8, 8, 4), (8, 99, 4), (4, 4, 4),
])  # fmt: skip
def test_a_prefix_cache_holds_whole_blocks_and_never_the_last_token(
    prompt: int, cached: int, computed: int
) -> None:
    batcher = Batcher(BatchLimits(kv_blocks=9, block_tokens=4))
    batcher.add(1, prompt_tokens=prompt, output_tokens=1, cached_tokens=cached)
    step = batcher.plan()
    assert step is not None
    assert step.load.prefill_tokens == computed
    assert step.load.kv_tokens == prompt


def test_the_front_of_four_points_by_hand() -> None:
    rate = np.array([10.0, 5.0, 10.0, 0.0, 5.0])
    latency = np.array([2.0, 1.0, 3.0, 0.5, 1.0])
    assert pareto_front(rate, latency).tolist() == [True, True, False, False, True]


def rows(**goal: Any) -> list[Any]:
    return search(model("Mixtral-8x7B"), gpu("A100-80GB"), 4, goal=Goal(context=4096, **goal))


def test_every_refusal_and_every_reason_has_its_numbers() -> None:
    best = rows()[0]
    assert "of the step is" in best.why
    for row in rows(batch=8):
        assert (row.batch == 8) == row.feasible
        if row.feasible:
            assert row.tokens_per_s == pytest.approx(8 / row.latency_s)
            assert row.tokens_per_s_per_gpu == pytest.approx(row.tokens_per_s / 4)
        else:
            assert (row.tokens_per_s, row.tokens_per_s_per_gpu, row.latency_s) == (None,) * 3
    over = rows(batch=10**6)
    assert all("is over the" in row.why for row in over)
    assert not any(row.pareto or row.feasible for row in over)
    assert all(row.why == "no batch meets the latency limit" for row in rows(latency_s=1e-6))


LLAMA, H200 = model("LLaMA-65B"), gpu("H200")


def test_what_does_not_fit_says_by_how_much() -> None:
    """80 layers of 8192 keys and values in two bytes: 2.62 MB a token, half of it on each GPU."""
    said = {row.why for row in search(LLAMA, A100, 2, goal=Goal(context=40_000))}
    assert any("one sequence needs 52.43 GB of cache a GPU" in why for why in said)
    # A whole copy a GPU is 65.3 billion parameters of two bytes; a tenth and 1.5 GiB are kept free.
    usable = (0.9 * A100.memory_bytes - 1.5 * 2**30) / 1e9
    (over,) = {why for why in said if "weights of 130.6 GB" in why}
    assert f"exceed what is usable by {130.57 - usable:.1f} GB" in over


def test_reading_and_computing_are_told_apart() -> None:
    """One sequence reads the weights; with two thousand at once they are computed with."""
    for batch, bound in ((1, "reading memory"), (2000, "computing")):
        best = search(LLAMA, H200, 2, goal=Goal(context=10, batch=batch))[0]
        assert best.why.endswith(f"of the step is feed-forward {bound}")


def test_a_stage_holds_its_layers_part_of_everything() -> None:
    """Three layers of attention, of a state, of experts over two stages: two are on the fuller."""
    state = FixedState(kind="mamba", heads=10, projections=(("in_proj", 500),), state_elements=64)
    layered = msgspec.structs.replace(
        SMALL, layers=3, experts=Experts(count=4, top_k=1, width=10, layers=3), dense_width=0,
        blocks=(Block(count=3, mixers=(SMALL.attention, state), routed=True),),
    )  # fmt: skip
    whole = memory(layered, Layout(), A100)
    half = memory(layered, Layout(pp=2), A100)
    assert whole.state_bytes == 3 * 64 * 2
    assert whole.kv_bytes_per_token == 3 * 200 * 2
    assert whole.expert_bytes == 3 * 4 * 3 * 100 * 10 * 2
    for name in ("state_bytes", "kv_bytes_per_token", "expert_bytes", "layered_bytes"):
        assert getattr(half, name) == pytest.approx(getattr(whole, name) * 2 / 3), name
    assert (whole.layers, half.layers) == (3, 2)
    # Embedding and head are 1000·100 elements of two bytes; a stage has one of them.
    assert whole.replicated_bytes - whole.layered_bytes == pytest.approx(400_000)
    assert half.replicated_bytes - half.layered_bytes == pytest.approx(200_000)
    assert whole.kv_bytes_per_sequence(10) == 10 * 3 * 200 * 2 + 3 * 64 * 2
    assert half.kv_ways == 2


@pytest.mark.parametrize(("goal", "name"), [
    ({"context": 0}, "context"), ({"context": 1, "batch": 0}, "batch"),
    ({"context": 1, "latency_s": 0.0}, "latency"),
])  # fmt: skip
def test_the_least_goals_are_one_token_and_one_sequence(goal: dict[str, Any], name: str) -> None:
    assert Goal(context=1, batch=1, latency_s=1e-9).batch == 1
    with pytest.raises(BadValue, match=name):
        Goal(**goal)


SPLIT = ClusterSplit(gpus=16, memory_bytes=1000.0, usable_fraction=0.5, tp=4, weight_dtype="fp8")


def test_a_cluster_s_split_by_hand() -> None:
    assert (SPLIT.kvp, SPLIT.weight_ways) == (4, 16)
    two = msgspec.structs.replace(SPLIT, ep=2)
    assert two.weight_ways == 8
    # Ten KV heads go over all four ranks of tensor parallelism, two over two.
    assert SPLIT.kv_ways(SMALL) == 16
    narrow = msgspec.structs.replace(
        SMALL, attention=GroupedQueryAttention(heads=10, kv_heads=2, head_dim=10)
    )
    assert SPLIT.kv_ways(narrow) == 4 * 2
    assert weight_bytes_per_gpu(3200, SPLIT) == 200
    # A layer of 200 elements of two bytes, over 16 ways, for 8 tokens; of 40 over 8.
    assert kv_bytes_per_gpu(SMALL, 8, SPLIT) == 200 * 2 * 8 / 16
    assert kv_bytes_per_gpu(narrow, 8, SPLIT) == 40 * 2 * 8 / 8
    # Half of 1000 bytes, less 200 of weights, for 200 each.
    assert largest_batch(SMALL, 3200, context=8, split=SPLIT) == 1
    assert largest_batch(SMALL, 3200, context=4, split=SPLIT) == 3
    assert largest_batch(SMALL, 9000, context=4, split=SPLIT) == 0
    for text in ("50% of 0 GB", "16 GPUs", "split 16 ways", "tp = 4", "kvp = 4"):
        assert text in SPLIT.text
