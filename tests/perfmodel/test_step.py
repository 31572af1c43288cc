"""Step times: what must hold of them, and what they are made of."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadValue
from catalog.hardware_table import gpu
from catalog.model_table import model
from perfmodel.breakdown import step_cost
from perfmodel.constants import A100_VLLM, DEFAULT, ROOFLINE, VLLM_2026, Constants, calibration
from perfmodel.experts import RoutingSkew, by_chance
from perfmodel.launches import launches_per_step
from perfmodel.load import DUMMY, decode_load, prefill_load
from perfmodel.memory import memory
from perfmodel.serving import ServerSettings, server
from perfmodel.step import StepModel
from strategies.parse import parse_layout

NAMES = ["Mixtral-8x7B", "OLMoE-1B-7B", "gpt-oss-20b", "DeepSeek-V3", "Qwen3-30B-A3B"]
LAYOUTS = ["tp8", "dp8+ep", "tp2+dp4+ep", "pp2+tp4", "tp4+ep"]


def step_model(name: str = "OLMoE-1B-7B", layout: str = "tp", hardware: str = "H100") -> StepModel:
    return StepModel(model(name), parse_layout(layout), gpu(hardware), constants=ROOFLINE)


def decode_s(step: StepModel, batch: int, context: int) -> float:
    window = step.model.attention.window
    return float(step.times([decode_load(batch, context, window=window)]).total_s[0])


@pytest.mark.parametrize(
    ("name", "layout", "per_layer"),
    [
        ("Mixtral-8x7B", "tp", 20),
        ("OLMoE-1B-7B", "tp", 27),
        ("Qwen1.5-MoE-A2.7B", "tp", 27),
        ("Mixtral-8x7B", "ep", 18 + 6.7),
        ("OLMoE-1B-7B", "ep", 20 + 6.7),
        ("Qwen1.5-MoE-A2.7B", "ep", 25 + 6.7),
        ("Mixtral-8x7B", "tp+ep", 20 + 31.3),
        ("OLMoE-1B-7B", "tp+ep", 27 + 31.3),
    ],
)
def test_launches_of_the_a100_study(name: str, layout: str, per_layer: float) -> None:
    spec = model(name)
    launches = launches_per_step(spec, parse_layout(layout), A100_VLLM)
    assert launches == pytest.approx(spec.layers * per_layer)


def test_a_launch_bound_step_is_the_launches_and_the_host() -> None:
    tp, a100 = parse_layout("tp"), gpu("A100-80GB")
    step = StepModel(model("OLMoE-1B-7B"), tp, a100, constants=A100_VLLM)
    assert decode_s(step, 1, 128) == pytest.approx(16 * 27 * 44e-6 + 29e-6)
    assert step_cost(step, [decode_load(1, 128)]).bound == "launch"


@pytest.mark.slow
@given(
    st.sampled_from(NAMES),
    st.sampled_from(LAYOUTS),
    st.lists(st.tuples(st.integers(1, 64), st.integers(1, 4000)), min_size=2, max_size=5),
    st.integers(1, 40),
)
def test_times_that_are_asked_for_again_are_those_of_a_model_that_remembers_none(
    name: str, layout: str, batches: list[tuple[int, int]], steps: int
) -> None:
    used = step_model(name, layout)
    window = used.model.attention.window
    for batch, context in [*batches, *batches]:
        loads = [decode_load(batch, context, window=window), DUMMY]
        asked, fresh = used.times(loads, steps), step_model(name, layout).times(loads, steps)
        assert (asked.total_s == fresh.total_s).all()
        assert asked.seconds_by_bound(steps) == fresh.seconds_by_bound(steps)
        assert asked.seconds_by_bound(1) == fresh.seconds_by_bound(1)


def test_remembered_times_cannot_be_changed_by_who_reads_them() -> None:
    times = step_model().times([decode_load(4, 100)], 3)
    for part in (times.total_s, times.memory_s, times.compute_s):
        with pytest.raises(ValueError, match="read-only"):
            part[0] += 1.0
    times.seconds_by_bound(3)["launch"] = -1.0
    assert times.seconds_by_bound(3)["launch"] >= 0.0


def test_a_large_dense_batch_is_bound_by_compute_and_a_small_one_by_memory() -> None:
    step = step_model("LLaDA-8B", "single")
    assert step_cost(step, [decode_load(4, 100)]).bound == "memory"
    assert step_cost(step, [prefill_load(8, 1024)]).bound == "compute"


def test_reading_mixtrals_weights_takes_what_bandwidth_allows() -> None:
    step = step_model("Mixtral-8x7B", "tp", "A100-80GB")
    cost = step_cost(step, [decode_load(64, 128)])
    # 64 tokens touch all 8 experts; the input embedding is not read.
    read = 2.0 * (model("Mixtral-8x7B").total_params - 32000 * 4096) / 2
    weights = sum(part.moved_bytes for part in cost.parts if part.name != "attention")
    assert weights == pytest.approx(read, rel=1e-6)


@pytest.mark.slow
@given(
    name=st.sampled_from(NAMES),
    layout=st.sampled_from(LAYOUTS),
    batch=st.integers(1, 512),
    context=st.integers(1, 20_000),
    factor=st.floats(1, 10),
    constants=st.sampled_from([ROOFLINE, VLLM_2026]),
)
def test_more_work_is_never_faster_and_more_bandwidth_never_slower(
    name: str, layout: str, batch: int, context: int, factor: float, constants: Constants
) -> None:
    step = StepModel(model(name), parse_layout(layout), gpu("H100"), constants=constants)
    base = decode_s(step, batch, context)
    assert decode_s(step, batch, context + 500) >= base
    assert decode_s(step, batch + step.layout.pp, context) >= base * (1 - 1e-12)
    faster = msgspec.structs.replace(
        step.gpu, bandwidth_bytes_per_s=step.gpu.bandwidth_bytes_per_s * factor
    )
    assert decode_s(
        StepModel(step.model, step.layout, faster, constants=constants), batch, context
    ) <= (base * (1 + 1e-12))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_step_at_the_largest_batch_reads_more_than_the_gpu_holds(name: str, layout: str) -> None:
    step = step_model(name, layout, "H200")
    budget = memory(step.model, step.layout, step.gpu)
    for context in (1024, 32768):
        batch = budget.largest_batch(context)
        if step.layout.pp > 1 or batch == 0:
            continue  # micro-batches read a stage's weights once each
        loads = [decode_load(batch, context - 1, window=budget.window)] * step.layout.dp
        assert step_cost(step, loads).moved_bytes <= step.gpu.memory_bytes


@pytest.mark.slow
@given(
    st.lists(st.integers(0, 64), min_size=4, max_size=4).filter(any),
    st.integers(1, 4000),
)
def test_replicas_in_lockstep_wait_for_the_slowest(batches: list[int], context: int) -> None:
    step = step_model("OLMoE-1B-7B", "dp4+ep")
    loads = [decode_load(batch, context) if batch else DUMMY for batch in batches]
    total = step.times(loads).total_s[0]
    assert total == step.times(list(reversed(loads))).total_s[0]
    lighter = [loads[i] if batches[i] == max(batches) else DUMMY for i in range(4)]
    assert total >= step.times(lighter).total_s[0]


@pytest.mark.slow
@given(st.integers(1, 300), st.integers(1, 3000), st.integers(2, 50))
def test_steps_priced_together_equal_steps_priced_alone(
    batch: int, context: int, steps: int
) -> None:
    step = step_model("gpt-oss-20b", "tp2+dp2+ep")
    window = step.model.attention.window
    gap = max(1, min(steps, window - context)) if context + 1 < window else steps
    together = step.times([decode_load(batch, context, window=window), DUMMY], gap).total_s
    alone = [
        step.times([decode_load(batch, context + j, window=window), DUMMY]).total_s[0]
        for j in range(gap)
    ]
    assert np.array_equal(together, alone)


def test_parts_add_up_to_the_step() -> None:
    step = step_model("DeepSeek-V3", "tp8", "H200")
    cost = step_cost(step, [decode_load(32, 4096)])
    gpu_s = sum(part.seconds for part in cost.parts if part.name not in ("launches", "host"))
    host_s = sum(part.seconds for part in cost.parts if part.name == "host")
    assert cost.seconds == pytest.approx(gpu_s + host_s)
    assert sum(cost.seconds_by_bound.values()) == pytest.approx(cost.seconds)


def test_pipeline_stages_split_the_cache_but_each_micro_batch_reads_the_weights() -> None:
    whole, piped = step_model("Mixtral-8x7B", "tp4"), step_model("Mixtral-8x7B", "pp2+tp4")
    one = [step_cost(each, [decode_load(1, 1000)]).moved_bytes for each in (whole, piped)]
    assert one[0] == pytest.approx(one[1])
    two = [step_cost(each, [decode_load(64, 1000)]).parts[0].moved_bytes for each in (whole, piped)]
    assert two[0] == pytest.approx(2 * two[1])


def test_skewed_routing_loads_the_busiest_rank() -> None:
    spec, layout, h100 = model("OLMoE-1B-7B"), parse_layout("dp4+ep"), gpu("H100")
    skewed = StepModel(spec, layout, h100, constants=ROOFLINE, routing=RoutingSkew(zipf=1.0))
    even = StepModel(spec, layout, h100, constants=ROOFLINE)
    load = [prefill_load(4, 1024)] * 4
    assert skewed.times(load).total_s[0] > even.times(load).total_s[0]


def test_a_true_all_to_all_sends_less_than_gathering_when_few_experts_are_chosen() -> None:
    gather = step_model("Mixtral-8x7B", "dp8+ep")
    direct = step_model("Mixtral-8x7B", "dp8+ep[all2all=deepep_low_latency]")
    assert direct.fabric.exchange(4096).expert_s < gather.fabric.exchange(4096).expert_s


def test_re_reading_experts_costs_bytes_only_when_switched_on() -> None:
    torn = msgspec.structs.replace(ROOFLINE, expert_rereads=32.0)
    spec, layout, h200 = model("Qwen3-30B-A3B"), parse_layout("tp8"), gpu("H200")
    plain = step_cost(StepModel(spec, layout, h200, constants=ROOFLINE), [decode_load(64, 1000)])
    fragmented = step_cost(StepModel(spec, layout, h200, constants=torn), [decode_load(64, 1000)])
    experts = [
        part.moved_bytes
        for cost in (plain, fragmented)
        for part in cost.parts
        if part.name == "experts"
    ]
    assert experts[1] == pytest.approx(32 * experts[0])


def test_every_gpu_of_the_catalog_has_a_calibration() -> None:
    assert DEFAULT is VLLM_2026
    assert calibration("roofline") is ROOFLINE
    cpu = StepModel(model("tiny-olmoe"), parse_layout("tp"), gpu("CPU"))
    assert 0 < decode_s(cpu, 4, 16) < 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"memory_efficiency": 0.0},
        {"compute_efficiency": 1.1},
        {"kernel_s": -1e-6},
        {"expert_rereads": 0.5},
        {"hop_s": float("nan")},
    ],
)
def test_constants_no_machine_has_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadValue, match=next(iter(wrong))):
        msgspec.structs.replace(ROOFLINE, **wrong)


@given(
    count=st.integers(1, 10**6),
    more=st.integers(1, 1000),
    ranks=st.sampled_from([2, 4, 8, 64]),
)
def test_chance_spreads_more_things_over_ranks_more_evenly_and_never_less_in_all(
    count: int, more: int, ranks: int
) -> None:
    few, many = by_chance(count, ranks), by_chance(count + more, ranks)
    assert 1.0 <= many <= few <= ranks
    assert count * few <= (count + more) * many * (1 + 1e-12)


@pytest.mark.parametrize(("ranks", "things"), [(2, 16), (8, 64), (8, 1024)])
def test_the_fullest_rank_is_as_full_as_draws_say(ranks: int, things: int) -> None:
    rng = np.random.default_rng(1)
    fullest = rng.multinomial(things, [1 / ranks] * ranks, size=4000).max(axis=1).mean()
    assert by_chance(things, ranks) == pytest.approx(fullest / (things / ranks), rel=0.04)


def test_a_serial_step_is_the_sum_of_its_parts() -> None:
    step = StepModel(model("gpt-oss-20b"), parse_layout("tp4+ep"), gpu("H200"), constants=VLLM_2026)
    load = decode_load(16, 1000, window=step.model.reach)
    cost = step_cost(step, [load])
    assert cost.seconds == pytest.approx(sum(part.seconds for part in cost.parts), rel=1e-9)
    assert sum(cost.seconds_by_bound.values()) == pytest.approx(cost.seconds, rel=1e-9)


def test_whole_experts_and_slices_of_all_differ_by_slices_and_chance() -> None:
    """The question of the tool: they cost the same only where nothing tells them apart."""
    spec, h200 = model("Qwen3-30B-A3B"), gpu("H200")
    tp, ep = (
        decode_s(StepModel(spec, parse_layout(each), h200, constants=VLLM_2026), 64, 1000)
        for each in ("tp4", "tp4+ep")
    )
    assert tp != ep
    even = msgspec.structs.replace(VLLM_2026, slice_s=0.0, independent_routing=False)
    tp, ep = (
        decode_s(StepModel(spec, parse_layout(each), h200, constants=even), 64, 1000)
        for each in ("tp4", "tp4+ep")
    )
    assert tp == pytest.approx(ep)


@pytest.mark.parametrize("sequence_s", [10e-6, 1e-3])
def test_a_step_scheduled_ahead_takes_the_longer_of_gpu_and_host(sequence_s: float) -> None:
    constants = msgspec.structs.replace(VLLM_2026, sequence_s=sequence_s)
    apart, ahead = (
        StepModel(model("gpt-oss-20b"), parse_layout("tp"), gpu("H100"), constants=constants)
        for _ in range(2)
    )
    ahead.ahead = True
    loads = [decode_load(64, 1000, window=128)]
    host_s = 64 * sequence_s
    gpu_s = float(apart.times(loads).total_s[0]) - host_s
    assert float(ahead.times(loads).total_s[0]) == pytest.approx(max(gpu_s, host_s))
    shown = step_cost(ahead, loads).parts[-1]
    over_s = max(0.0, host_s - gpu_s)
    assert (shown.name, shown.seconds) == ("host", pytest.approx(constants.step_s + over_s))


@pytest.mark.parametrize(("constants", "ahead"), [(VLLM_2026, True), (A100_VLLM, False)])
def test_a_host_that_launches_every_kernel_itself_has_no_time_to_schedule_ahead(
    constants: Constants, ahead: bool
) -> None:
    setup = ServerSettings(constants=constants)
    where = model("OLMoE-1B-7B"), parse_layout("tp"), gpu("H100")
    assert server(*where, longest=1024, setup=setup).step_model.ahead == ahead
