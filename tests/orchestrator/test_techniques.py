"""Techniques as a factor of the plan: crossed with layouts, paired, refused in time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalog.errors import BadValue
from catalog.hardware_table import gpu
from catalog.model_table import MODELS
from catalog.units import GIB
from orchestrator.engine import LaunchContext
from orchestrator.engines.vllm.command import server_command
from orchestrator.experiment.experiment import Experiment
from orchestrator.host.cpu import cpu_flags
from orchestrator.measure.traffic import traffic_of
from orchestrator.plan import make_plan
from perfmodel.breakdown import step_cost
from perfmodel.load import decode_load
from perfmodel.memory import memory
from perfmodel.offload import WeightLimits, spread_weights
from perfmodel.serving import ServerSettings, server
from perfmodel.step import StepModel
from strategies.parse import parse_layout

STUDY = Experiment(
    models=("mixtral",),
    strategies=("tp", "ep"),
    techniques=("none", "fp8,kv-fp8"),
    workloads=("16:8:4",),
    concurrency="2",
)


def test_techniques_are_crossed_with_layouts_each_with_a_server_of_its_own() -> None:
    plan = make_plan(STUDY, "simulated")
    found = {(group.setup.strategy, group.setup.technique.name) for group in plan.groups}
    assert found == {(s, t) for s in ("tp", "ep") for t in ("none", "fp8", "kv-fp8")}
    assert len({group.group_id for group in plan.groups}) == 6
    assert len(plan.run_ids) == 6


def test_techniques_are_compared_under_the_same_prompts() -> None:
    runs = make_plan(STUDY, "simulated").as_asked
    prompts = [traffic_of(run, vocab=500).prompts for run in runs]
    assert len({run.run_id for run in runs}) == 6
    assert all(np.array_equal(prompts[0], other) for other in prompts)


def test_without_techniques_the_cells_are_those_of_earlier_studies() -> None:
    plain = make_plan(Experiment(strategies=("tp",)), "simulated")
    asked = make_plan(Experiment(strategies=("tp",), techniques=("none",)), "simulated")
    assert plain.run_ids == asked.run_ids


def test_memory_follows_the_technique() -> None:
    study = Experiment(models=("mixtral",), strategies=("single",), techniques=("none,fp8",))
    plan = make_plan(study, "simulated")
    (refused,) = plan.refused
    assert refused.setup.technique.name == "none"
    assert "87.0 GiB" in refused.reasons[0]
    assert {group.setup.technique.name for group in plan.groups} == {"fp8"}


def test_what_the_engine_cannot_do_is_refused_before_any_model_is_looked_up() -> None:
    study = Experiment(models=("no/such-model",), techniques=("cpu-offload:8GiB",))
    with pytest.raises(BadValue, match="engine simulated"):
        make_plan(study, "simulated")


@pytest.mark.parametrize(
    "labels", [{"techniques": ("label:a,label:b",)}, {"strategies": ("tp,ep",)}]
)
def test_a_running_server_has_one_technique_and_one_strategy(labels: dict[str, Any]) -> None:
    study = Experiment(endpoint="http://127.0.0.1:1", **labels)
    with pytest.raises(BadValue, match="one, the one that the running server has"):
        make_plan(study, "endpoint", served="x")


def test_a_variant_is_served_in_the_model_s_place_under_the_model_s_prompts() -> None:
    study = Experiment(
        models=("tiny-mixtral",),
        engine="vllm",
        strategies=("single",),
        techniques=("variant:tiny-olmoe+bf16",),
    )
    plan = make_plan(study, "vllm")
    (group,) = plan.groups
    context = LaunchContext(study, plan.models["tiny-mixtral"], Path())
    words = server_command(group, context, base=["serve"], port=1, served_name="n")
    assert words[1].endswith("tiny-olmoe")
    last = len(words) - 1 - words[::-1].index("--dtype")
    assert words[last + 1] == "bfloat16"
    assert plan.stored(group.setup).name == "tiny-olmoe"


def test_a_variant_with_fewer_tokens_cannot_be_given_the_same_prompts() -> None:
    study = Experiment(
        models=("qwen-moe",), strategies=("tp",), techniques=("none", "variant:mixtral")
    )
    (refused,) = make_plan(study, "simulated").refused
    assert "cannot be given the same prompts" in refused.reasons[0]


def test_instruction_sets_are_read_where_linux_lists_them(tmp_path: Path) -> None:
    listing = tmp_path / "cpuinfo"
    listing.write_text("processor\t: 0\nflags\t\t: fpu avx2 amx_tile\n")
    assert cpu_flags(listing) == {"fpu", "avx2", "amx_tile"}
    assert cpu_flags(tmp_path / "absent") == frozenset()


def test_weights_brought_in_are_left_out_with_the_reason_where_they_have_no_price() -> None:
    techniques = ("accelerate-offload,accelerate-offload:cpu=30GB",)
    study = Experiment(
        models=("mixtral",),
        strategies=("single", "pp3"),
        techniques=techniques,
        workloads=("16:8:4",),
        concurrency="1",
        hardware="A6000",
    )
    plan = make_plan(study, "simulated")
    (kept,) = plan.setups
    assert (kept.strategy, kept.technique.name) == ("single", "accelerate-offload")
    why = {(each.setup.strategy, each.setup.technique.name): each.reasons for each in plan.refused}
    disk = why["single", "accelerate-offload:cpu=30GB"]
    assert "disk_bytes_per_s of A6000: got None" in " ".join(disk)
    assert "is priced on one GPU, pp3 needs more" in why["pp3", "accelerate-offload"][0]


def test_a_step_that_brings_weights_in_takes_that_much_longer() -> None:
    row = gpu("A6000")
    small = {"gpu_bytes": 20 * GIB, "host_bytes": None}
    spread = spread_weights(
        memory(MODELS["Mixtral-8x7B"], parse_layout("single"), row), WeightLimits(**small), 24
    )
    one = ServerSettings(weights=WeightLimits(**small))
    model, single = MODELS["Mixtral-8x7B"], parse_layout("single")
    brought = server(model, single, row, longest=24, setup=one).step_model
    plain = StepModel(model, single, row)
    load = [decode_load(1, 20)]
    more = brought.times(load).total_s[0] - plain.times(load).total_s[0]
    assert more == pytest.approx(spread.seconds(row), rel=1e-3)
    assert brought.times(load).seconds_by_bound(1)["communication"] == pytest.approx(more, rel=1e-2)
    parts = {part.name: part.seconds for part in step_cost(brought, load).parts}
    assert parts["weights brought in"] == pytest.approx(spread.seconds(row))
