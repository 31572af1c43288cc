"""Weights in host memory, against sizes worked out by hand for Mixtral-8x7B in bfloat16."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadValue, Infeasible
from catalog.hardware_table import gpu
from catalog.model_table import model
from catalog.units import GIB
from perfmodel.memory import memory
from perfmodel.offload import (
    SpreadWeights,
    WeightLimits,
    any_offloaded,
    experts_cached,
    layers_offloaded,
    offloaded_layers,
    spread_weights,
)
from strategies.parse import parse_layout

MIXTRAL = model("Mixtral-8x7B")
WHOLE = memory(MIXTRAL, parse_layout("tp1"), gpu("A100-80GB"))
# One layer: 8 experts of 3 · 4096 · 14336, queries and output 2 · 4096², keys and values
# 2 · 4096 · 1024, a router of 8 · 4096, all of 2 bytes; the norms are left to the tolerance.
LAYER = 2 * (8 * 3 * 4096 * 14336 + 2 * 4096**2 + 2 * 4096 * 1024 + 8 * 4096)


def test_the_layers_and_the_two_tables_are_all_there_is() -> None:
    tables = 2 * 2 * 32000 * 4096
    assert WHOLE.layers == 32
    assert WHOLE.weight_bytes == pytest.approx(32 * LAYER + tables, rel=1e-4)
    assert WHOLE.weight_bytes - WHOLE.expert_bytes - WHOLE.layered_bytes == pytest.approx(tables)


@pytest.mark.parametrize(
    ("layers", "group", "last", "count"),
    [(32, 8, 2, 8), (32, 1, 1, 32), (10, 4, 1, 2), (11, 4, 3, 8), (3, 4, 2, 1), (2, 8, 2, 0)],
)
def test_of_each_group_the_last_layers_go(layers: int, group: int, last: int, count: int) -> None:
    assert offloaded_layers(layers, group=group, last=last) == count


def test_offloaded_layers_leave_but_for_the_buffers_of_those_ahead() -> None:
    # 8 of 32 layers go, one buffer stays: 7 layers less, 18.9 of 87.0 GiB.
    less = layers_offloaded(WHOLE, group=8, last=2, ahead=1)
    assert WHOLE.weight_bytes - less.weight_bytes == pytest.approx(7 * LAYER, rel=1e-4)
    assert less.weight_bytes / GIB == pytest.approx(68.1, abs=0.05)


def test_every_layer_offloaded_leaves_the_tables_and_the_buffers() -> None:
    less = layers_offloaded(WHOLE, group=1, last=1, ahead=3)
    assert less.weight_bytes == pytest.approx(2 * 2 * 32000 * 4096 + 3 * LAYER, rel=1e-3)


def test_a_group_larger_than_the_model_offloads_nothing() -> None:
    assert layers_offloaded(WHOLE, group=64, last=2, ahead=4) == WHOLE


def test_a_pipeline_stage_offloads_of_its_own_layers() -> None:
    stage = memory(MIXTRAL, parse_layout("pp2"), gpu("A100-80GB"))
    less = layers_offloaded(stage, group=8, last=2, ahead=1)
    assert stage.weight_bytes - less.weight_bytes == pytest.approx(3 * LAYER, rel=1e-4)


def test_a_cache_takes_the_place_of_all_experts() -> None:
    cached = experts_cached(WHOLE, 21 * GIB)
    assert cached.weight_bytes == WHOLE.replicated_bytes + 21 * GIB
    assert cached.replicated_bytes / GIB == pytest.approx(3.0, abs=0.05)


@given(st.floats(min_value=0, max_value=200))
def test_offloaded_bytes_come_off_the_weights_until_none_are_left(size_gib: float) -> None:
    less = any_offloaded(WHOLE, size_gib * GIB)
    expected = max(0.0, WHOLE.weight_bytes - size_gib * GIB)
    assert less.weight_bytes == pytest.approx(expected, abs=1.0)


def test_weights_fill_the_gpu_then_host_memory_then_the_disk() -> None:
    # 87.0 GiB: 40 on the GPU, of which one layer's 2.7 are kept free for those brought in.
    tables = 2 * 2 * 32000 * 4096
    left = 32 * LAYER + tables - (40 * GIB - LAYER)
    near = spread_weights(WHOLE, WeightLimits(gpu_bytes=40 * GIB), 128)
    assert near.memory.weight_bytes == pytest.approx(40 * GIB)
    assert (near.host_bytes, near.disk_bytes) == (pytest.approx(left, rel=1e-4), 0)
    far = spread_weights(WHOLE, WeightLimits(gpu_bytes=40 * GIB, host_bytes=20 * GIB), 128)
    assert far.host_bytes == 20 * GIB
    assert far.disk_bytes == pytest.approx(left - 20 * GIB, rel=1e-4)
    assert "20.0 GiB of weights in host memory" in far.memory.assumptions[-1]
    assert spread_weights(WHOLE, WeightLimits(gpu_bytes=88 * GIB), 128).memory is WHOLE
    with pytest.raises(Infeasible, match=r"one layer takes 2\.7 GiB .* the GPU may hold 2\.0 GiB"):
        spread_weights(WHOLE, WeightLimits(gpu_bytes=2 * GIB), 128)


def test_a_step_waits_for_disk_and_link_or_is_refused_without_their_speed() -> None:
    spread = SpreadWeights(WHOLE, host_bytes=20e9, disk_bytes=7e9)
    card = msgspec.structs.replace(gpu("RTX-4090"), disk_bytes_per_s=3.5e9)
    assert spread.seconds(card) == pytest.approx(27e9 / 31.5e9 + 7e9 / 3.5e9)
    with pytest.raises(BadValue, match="disk_bytes_per_s of RTX-4090: got None"):
        spread.seconds(gpu("RTX-4090"))


@pytest.mark.parametrize("name", ["A6000", "A100-80GB", "RTX-4090"])
def test_a_gpu_left_to_itself_is_filled_to_the_room_for_one_sequence(name: str) -> None:
    whole = memory(MIXTRAL, parse_layout("tp1"), gpu(name))
    spread = spread_weights(whole, WeightLimits(), 4096)
    spread.memory.check(4096)
    assert spread.host_bytes > 0
    assert spread.memory.kv_budget_bytes == pytest.approx(whole.kv_bytes_per_sequence(4096), abs=4)
