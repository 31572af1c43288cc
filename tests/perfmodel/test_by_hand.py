"""Formulas of the analytic model put to numbers that a reader can check on paper."""

from typing import Any

import msgspec
import numpy as np
import pytest

from catalog.hardware import Link
from catalog.hardware_table import gpu
from catalog.model_table import model
from perfmodel.collectives import (
    all_gather,
    all_reduce,
    all_to_all,
    node_all_reduce,
    node_then_network_all_reduce,
    point_to_point,
    reduce_scatter,
    ring_all_reduce,
    tree_all_reduce,
)
from perfmodel.constants import ROOFLINE, Constants
from perfmodel.exchange import Fabric, direct_price
from perfmodel.load import DUMMY, chunk_pairs, decode_load, prefill_load
from perfmodel.step import StepModel
from strategies.parse import parse_layout

# α = 2 µs and 100 GB/s: 800 MB take 8 ms.
LINK = Link(name="test", bandwidth_bytes_per_s=100e9, latency_s=2e-6)
SLOW = Link(name="slow", bandwidth_bytes_per_s=10e9, latency_s=5e-6)
MB_800, A, MS = 800e6, 2e-6, 1e-3


@pytest.mark.parametrize(("ranks", "rounds"), [(2, 1), (3, 2), (4, 2), (5, 3), (6, 3), (8, 3)])
def test_a_tree_takes_two_times_as_many_rounds_as_it_is_high(ranks: int, rounds: int) -> None:
    assert tree_all_reduce(MB_800, ranks, LINK) == pytest.approx(2 * rounds * (A + 8 * MS))


@pytest.mark.parametrize("collective", [all_gather, reduce_scatter, all_to_all])
def test_three_hops_over_four_ranks_carry_a_quarter_each(collective: Any) -> None:
    assert collective(MB_800, 4, LINK) == pytest.approx(3 * (A + 2 * MS))


def test_the_other_collectives_by_hand() -> None:
    assert point_to_point(MB_800, 2, LINK) == point_to_point(MB_800, 9, LINK) == A + 8 * MS
    assert ring_all_reduce(MB_800, 4, LINK) == pytest.approx(6 * (A + 2 * MS))
    # 1 kB over 64 ranks: a ring of 126 hops of 2 µs, a tree of 12 of 2.01 µs.
    assert all_reduce(1e3, 64, LINK) == pytest.approx(12 * (A + 1e-8))
    assert node_all_reduce(MB_800, 4, LINK, flat_s=3e-6) == pytest.approx(3e-6 + 12 * MS)
    assert node_all_reduce(MB_800, 1, LINK, flat_s=3e-6) == 0.0
    # 8 ranks on two nodes: four within, then two of a quarter each between, by ring 200 MB.
    both = node_then_network_all_reduce(MB_800, 8, (LINK, SLOW), within=4, flat_s=3e-6)
    assert both == pytest.approx(3e-6 + 12 * MS + 2 * (5e-6 + 10 * MS))


MIXTRAL = model("Mixtral-8x7B")


def fabric_of(layout: str, name: str = "Mixtral-8x7B", **constants: object) -> Fabric:
    own = msgspec.structs.replace(ROOFLINE, network_efficiency=1.0, hop_s=0.0, **constants)
    return Fabric(model(name), parse_layout(layout), gpu("H100"), own)


@pytest.mark.parametrize(
    ("layout", "tensor", "expert", "pipeline"),
    [
        # In bytes over the link of 16 tokens' activations: 32 layers, two all-reduces each.
        ("single", 0, 0, 0),
        ("tp4", 64 * 2 * 3 / 4, 0, 0),
        # Gathered over 4 ranks and scattered again: 3/4 of four times the tokens, twice.
        ("dp4+ep", 0, 32 * 2 * 3, 0),
        ("tp2+dp2+ep", 64 * 2 / 2, 32 * 2 * 1, 0),
        ("pp4", 0, 0, 3),
        ("pp2+tp2", 64 * 2 / 2, 0, 1),
    ],
)
def test_what_a_step_sends_follows_from_the_layout(
    layout: str, tensor: float, expert: float, pipeline: float
) -> None:
    size = 16 * 4096 * 2
    second = size / gpu("H100").intra_node.bandwidth_bytes_per_s
    found = fabric_of(layout).exchange(16)
    assert found.tensor_s == pytest.approx(tensor * second)
    assert found.expert_s == pytest.approx(expert * second)
    assert found.pipeline_s == pytest.approx(pipeline * second)
    assert found.total_s == found.tensor_s + found.expert_s + found.pipeline_s


def test_a_model_without_experts_sends_nothing_to_any() -> None:
    found = fabric_of("dp4", "LLaDA-8B").exchange(16)
    assert (found.tensor_s, found.expert_s, found.pipeline_s) == (0.0, 0.0, 0.0)


def test_a_true_all_to_all_sends_a_copy_to_each_expert_s_rank() -> None:
    second = 16 * 4096 * 2 / gpu("H100").intra_node.bandwidth_bytes_per_s
    direct = fabric_of("dp8+ep[all2all=deepep_low_latency]").exchange(16)
    # Two copies each way, 7/8 of them to others.
    assert direct.expert_s == pytest.approx(32 * 2 * 2 * 7 / 8 * second)
    half = fabric_of("tp2+dp4+ep[all2all=deepep_low_latency]").exchange(16)
    assert half.expert_s == pytest.approx(32 * 2 * 2 / 2 * 7 / 8 * second)


@pytest.mark.parametrize(
    ("layout", "why"),
    [("tp4+ep", "nothing is dispatched"), ("dp2+ep", "cost what gathering them costs"),
     ("dp4+ep", None), ("tp2+dp2+ep", None)],
)  # fmt: skip
def test_sending_copies_has_a_price_of_its_own_or_says_why_not(
    layout: str, why: str | None
) -> None:
    found = direct_price(MIXTRAL, parse_layout(layout))
    assert found is None if why is None else why in str(found)
    eight = direct_price(model("OLMoE-1B-7B"), parse_layout("dp4+ep"))
    assert eight == "8 copies of a token to 4 ranks are not priced"


def step_model(constants: Constants = ROOFLINE, layout: str = "dp4+ep") -> StepModel:
    return StepModel(model("OLMoE-1B-7B"), parse_layout(layout), gpu("H100"), constants=constants)


FREE = msgspec.structs.replace(ROOFLINE, kernel_s=0.0, step_s=0.0, sequence_s=0.0)


def test_in_lockstep_the_fullest_replica_is_computed_sent_and_waited_for() -> None:
    """Loads of 64 and 8 sequences: local work and messages of 64, experts of all 88 tokens."""
    step = step_model(FREE)
    heavy, light = decode_load(64, 3000), decode_load(8, 500)
    found = step.times([light, heavy, light, light])
    own = step.phases.local(64, sampled=64)
    attention = step.phases.attention(heavy, np.zeros(1))
    experts = step.phases.experts(64 + 3 * 8)
    assert experts is not None
    work = sum(float(np.sum(each.seconds)) for each in (*own, attention, experts))
    sent = step.fabric.exchange(64).total_s
    assert found.communication_s == pytest.approx(sent)
    assert found.total_s[0] == pytest.approx(work + sent)
    idle = step.times([heavy, DUMMY, DUMMY, DUMMY])
    assert idle.communication_s == pytest.approx(sent), "the others pad to the fullest"
    experts = step.phases.experts(64 + 3)
    assert experts is not None
    work = sum(float(np.sum(each.seconds)) for each in (*own, attention, experts))
    assert idle.total_s[0] == pytest.approx(work + sent), "a dummy is one token"


@pytest.mark.parametrize("overlap", [0.001, 0.01, 1.0])
def test_messages_hide_behind_a_share_of_their_own_phase(overlap: float) -> None:
    plain = step_model(FREE, "tp2+dp2+ep")
    hiding = step_model(msgspec.structs.replace(FREE, overlap=overlap), "tp2+dp2+ep")
    load = decode_load(64, 3000)
    exchange = plain.fabric.exchange(64)
    own = plain.phases.local(64, sampled=64)
    attention = plain.phases.attention(load, np.zeros(1))
    window = sum(float(np.sum(each.seconds)) for each in (*own, attention))
    experts = plain.phases.experts(128)
    assert experts is not None
    shown = max(0.0, exchange.tensor_s - overlap * window)
    shown += max(0.0, exchange.expert_s - overlap * float(experts.seconds))
    found = hiding.times([load, load])
    assert float(np.asarray(found.communication_s)[0]) == pytest.approx(shown)
    assert plain.times([load, load]).communication_s == pytest.approx(exchange.total_s)


def test_the_host_s_part_grows_with_the_sequences_of_the_fullest_replica() -> None:
    costs = msgspec.structs.replace(FREE, step_s=0.25, sequence_s=0.5, kernel_s=1e-9)
    step = step_model(costs)
    times = step.times([decode_load(3, 10), decode_load(7, 10), DUMMY, DUMMY])
    assert times.host_s == 0.25 + 7 * 0.5


def test_a_pipeline_is_filled_with_no_more_parts_than_there_are_sequences() -> None:
    piped = step_model(layout="pp4")
    loads = [decode_load(n, 10) for n in (1, 3, 4, 9)]
    assert [piped.micro_batches(load) for load in (*loads, DUMMY)] == [1, 3, 4, 4, 1]
    assert [piped.micro_tokens(load) for load in (*loads, DUMMY)] == [1, 1, 1, 2.25, 1]


@pytest.mark.parametrize(("tokens", "before", "window", "pairs"), [
    (4, 0, None, 1 + 2 + 3 + 4), (3, 10, None, 11 + 12 + 13), (4, 0, 2, 1 + 2 + 2 + 2),
    (3, 10, 4, 4 + 4 + 4), (3, 2, 4, 3 + 4 + 4), (0, 5, None, 0),
])  # fmt: skip
def test_causal_attention_scores_each_token_against_those_before_it(
    tokens: int, before: int, window: int | None, pairs: int
) -> None:
    assert chunk_pairs(tokens, before, window=window) == pairs


def test_loads_count_what_is_read_scored_and_sampled() -> None:
    decode = decode_load(3, 10, window=8)
    assert (decode.tokens, decode.sequences, decode.sampled, decode.phase) == (3, 3, 3, "decode")
    assert (decode.kv_tokens, decode.pairs) == (33, 33)
    assert (decode.windowed_kv_tokens, decode.windowed_pairs) == (24, 24)
    growths = [decode_load(3, context, window=8).windowed_growth for context in (5, 6, 7, 8)]
    assert growths == [3, 3, 0, 0]
    prompt = prefill_load(2, 4, context=6, window=5)
    assert (prompt.tokens, prompt.sequences, prompt.sampled, prompt.phase) == (8, 2, 2, "prefill")
    assert prompt.kv_tokens == 2 * 10
    assert prompt.pairs == prompt.prompt_pairs == 2 * (7 + 8 + 9 + 10)
    assert prompt.windowed_kv_tokens == 2 * (5 + 4)
    assert prompt.windowed_pairs == prompt.windowed_prompt_pairs == 2 * 20
    assert prompt.prefill_context == 12
    assert DUMMY.phase == "dummy"
