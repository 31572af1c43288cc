"""Cells and plans: identities, randomised blocks, refusals with the number that fails."""

import msgspec
import numpy as np
import pytest

from catalog.errors import BadValue, Infeasible
from orchestrator.experiment.cells import Run, load_points
from orchestrator.experiment.experiment import Experiment
from orchestrator.host.devices import Device
from orchestrator.measure.traffic import due_of, traffic_of
from orchestrator.plan import Plan, make_plan

STUDY = Experiment(
    models=("mixtral", "olmoe", "qwen-moe"), strategies=("tp", "ep", "tp+ep"), num_runs=2
)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(STUDY, "simulated")


def test_the_study_is_189_runs_a_replicate_on_nine_servers(plan: Plan) -> None:
    assert len(plan.groups) == 2 * 9
    assert len(plan.runs) == 2 * 189
    assert {len(group.runs) for group in plan.groups} == {21}


def test_every_run_has_an_id_of_its_own_and_replicates_share_the_cell(plan: Plan) -> None:
    assert len({run.run_id for run in plan.runs}) == len(plan.runs)
    assert len({run.cell.cell_id for run in plan.runs}) == 189


def test_the_plan_and_its_ids_are_the_same_every_time(plan: Plan) -> None:
    again = make_plan(STUDY, "simulated")
    assert [run.run_id for run in again.runs] == [run.run_id for run in plan.runs]


def test_a_block_holds_every_server_once_in_an_order_of_its_own(plan: Plan) -> None:
    first, second = plan.groups[:9], plan.groups[9:]
    assert {group.setup for group in first} == {group.setup for group in second}
    assert [group.setup for group in first] != [group.setup for group in second]


def test_as_asked_lists_the_same_runs_in_the_order_of_the_experiment(plan: Plan) -> None:
    assert {run.run_id for run in plan.as_asked} == {run.run_id for run in plan.runs}
    assert plan.as_asked[0].cell.setup.model == "Mixtral-8x7B"
    assert plan.as_asked[0].cell.setup.strategy == "tp"


def test_another_seed_is_another_study() -> None:
    one, two = (make_plan(Experiment(strategies=("tp",), seed=s), "simulated") for s in (0, 1))
    assert not {run.run_id for run in one.runs} & {run.run_id for run in two.runs}


def twins(**changes: object) -> tuple[Run, ...]:
    experiment = msgspec.structs.replace(
        Experiment(
            strategies=("tp", "ep"), workloads=("16:8:5",), concurrency="2", request_rates=(3.0,)
        ),
        **changes,
    )
    return make_plan(experiment, "simulated").as_asked


def test_strategies_are_compared_under_the_same_prompts_and_arrivals() -> None:
    tp, ep = twins()
    assert np.array_equal(traffic_of(tp, vocab=500).prompts, traffic_of(ep, vocab=500).prompts)
    assert np.array_equal(due_of(tp), due_of(ep))


def test_prompts_are_new_in_every_replicate_and_load_point() -> None:
    tp0, tp1, *_ = twins(num_runs=2)
    other, *_ = twins(concurrency="4")
    first, second, third = (traffic_of(run, vocab=50_000).prompts for run in (tp0, tp1, other))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, third)


def test_rates_are_crossed_with_caps_and_a_cap_needs_to_be_given() -> None:
    capped = load_points(Experiment(request_rates=(2.0, 4.0), concurrency="8,16"))
    assert [(p.request_rate, p.max_concurrency) for p in capped] == [
        (2.0, 8),
        (2.0, 16),
        (4.0, 8),
        (4.0, 16),
    ]
    (free,) = load_points(Experiment(request_rates=(2.0,)))
    assert free.max_concurrency is None


def test_without_levels_the_study_s_seven_are_run() -> None:
    levels = [point.max_concurrency for point in load_points(Experiment())]
    assert levels == [1, 4, 8, 16, 32, 64, 128]


def test_a_layout_that_fits_no_model_is_not_run_and_the_rest_goes_on() -> None:
    plan = make_plan(Experiment(strategies=("tp3", "tp")), "simulated")
    (refused,) = plan.refused
    assert refused.setup.strategy == "tp3"
    assert "16 attention heads are not divisible by tp = 3" in refused.reasons
    assert {setup.strategy for setup in plan.setups} == {"tp"}


def test_layouts_of_which_none_fits_any_model_are_bad_input_with_the_number() -> None:
    with pytest.raises(BadValue, match="16 attention heads are not divisible by tp = 3"):
        make_plan(Experiment(strategies=("tp3", "tp5")), "simulated")


def test_an_impossible_layout_beside_one_that_is_too_large_is_infeasible() -> None:
    with pytest.raises(Infeasible, match="not divisible by tp = 3") as raised:
        make_plan(Experiment(models=("mixtral",), strategies=("tp3", "single")), "simulated")
    assert "87.0 GiB" in str(raised.value)


def test_what_does_not_fit_is_refused_with_its_number_and_the_rest_goes_on() -> None:
    plan = make_plan(Experiment(models=("mixtral",)), "simulated")
    (refused,) = plan.refused
    assert refused.setup.strategy == "single"
    assert "87.0 GiB" in refused.reasons[0]
    assert {group.setup.strategy for group in plan.groups} == {"tp", "ep", "tp+ep"}


def test_nothing_left_is_infeasible() -> None:
    with pytest.raises(Infeasible, match=r"nothing fits: Mixtral-8x7B single"):
        make_plan(Experiment(models=("mixtral",), strategies=("single",)), "simulated")


def test_real_servers_need_the_gpus_they_ask_for() -> None:
    here = (Device(0, "GPU-0", "NVIDIA A100-SXM4-80GB", 85 * 10**9),)
    plan = make_plan(Experiment(), "vllm", found=here)
    assert {group.setup.strategy for group in plan.groups} == {"single"}
    assert all("1 here" in refused.reasons[-1] for refused in plan.refused)


def test_named_hardware_is_checked_against_what_is_here() -> None:
    here = (Device(0, "GPU-0", "NVIDIA H200", 150 * 10**9),)
    with pytest.raises(BadValue, match="what is here: H200"):
        make_plan(Experiment(hardware="A100-80GB"), "vllm", found=here)


def test_hardware_may_differ_by_strategy() -> None:
    hardware = {"default": "A100-80GB", "hybrid": "A100-40GB"}
    plan = make_plan(Experiment(models=("olmoe",), hardware=hardware), "simulated")
    by_strategy = {group.setup.strategy: group.setup.hardware for group in plan.groups}
    assert by_strategy["tp"] == "A100-80GB"
    assert by_strategy["tp+ep"] == "A100-40GB"
