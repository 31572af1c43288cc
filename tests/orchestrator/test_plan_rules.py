"""Each rule of a plan by itself: orders, refusals, limits, and what is said beside it."""

import msgspec
import pytest

from catalog.errors import BadValue
from orchestrator import plan as module
from orchestrator.experiment.cells import Cell, LoadPoint, Run, cells_of, layouts_of
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.server_group import Pool
from orchestrator.host.devices import Device
from orchestrator.plan import Plan, make_plan, notices

A100 = Device(0, "GPU-0", "NVIDIA A100-SXM4-80GB", 85 * 10**9)


def planned(**asked: object) -> Plan:
    defaults = {"models": ("olmoe",), "strategies": ("tp",), "workloads": ("16:8:5",)}
    return make_plan(Experiment(**{**defaults, **asked}), "simulated")


def loads(plan: Plan) -> list[list[int | None]]:
    return [[run.cell.load.max_concurrency for run in group.runs] for group in plan.groups]


def test_the_cells_within_a_server_run_in_an_order_of_their_own_in_each_block() -> None:
    """By chance six loads are in the order asked once in 720 times: in three blocks never."""
    found = loads(planned(concurrency="1,2,3,4,5,6", num_runs=3))
    assert all(sorted(each) == [1, 2, 3, 4, 5, 6] for each in found)
    assert [1, 2, 3, 4, 5, 6] not in found
    assert len({tuple(each) for each in found}) == 3


def test_orders_come_from_the_seed() -> None:
    asked = {"concurrency": "1,2,3,4,5,6", "num_runs": 2}
    assert loads(planned(**asked, seed=5)) == loads(planned(**asked, seed=5))
    assert loads(planned(**asked, seed=5)) != loads(planned(**asked, seed=6))


def test_a_block_is_a_replicate_and_its_runs_say_which() -> None:
    plan = planned(strategies=("tp", "ep"), num_runs=3)
    assert [group.replicate for group in plan.groups] == [0, 0, 1, 1, 2, 2]
    for group in plan.groups:
        assert {run.replicate for run in group.runs} == {group.replicate}
        assert {run.cell.setup for run in group.runs} == {group.setup}
    assert plan.run_ids == {run.run_id for run in plan.runs}
    assert {run.run_id.rsplit("-r")[1] for run in plan.runs} == {"0", "1", "2"}


def test_as_asked_goes_by_setup_then_load_then_replicate() -> None:
    plan = planned(strategies=("ep", "tp"), concurrency="2,1", num_runs=2)
    found = [(r.cell.setup.strategy, r.cell.load.max_concurrency, r.replicate)
             for r in plan.as_asked]  # fmt: skip
    assert found == [(s, load, n) for s in ("ep", "tp") for load in (1, 2) for n in (0, 1)]


def test_a_hundred_thousand_runs_are_planned_and_more_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(BadValue, match="110,000 runs', allowed: at most 100,000"):
        planned(concurrency="1..11:+1", num_runs=10_000)
    monkeypatch.setattr(module, "MOST_RUNS", 8)
    assert len(planned(concurrency="1,2,3,4", num_runs=2).runs) == 8
    with pytest.raises(BadValue, match="10 runs"):
        planned(concurrency="1,2,3,4,5", num_runs=2)


def test_options_that_an_engine_has_no_use_for_are_refused_by_name() -> None:
    with pytest.raises(BadValue, match=r"--engine: got .simulated., .*--expert-load"):
        planned(expert_load=True)
    assert make_plan(Experiment(models=("olmoe",), strategies=("single",), expert_load=True),
                     "vllm", found=(A100,)).groups  # fmt: skip
    assert planned(noise=0.1).groups
    with pytest.raises(BadValue, match="--noise"):
        make_plan(Experiment(models=("olmoe",), strategies=("single",), noise=0.1), "vllm",
                  found=(A100,))  # fmt: skip


@pytest.mark.parametrize(("gpus", "fits"), [(1, set()), (2, {"tp"}), (4, {"tp", "tp+ep"})])
def test_a_layout_needs_no_more_gpus_than_are_here(gpus: int, fits: set[str]) -> None:
    found = tuple(Device(n, f"GPU-{n}", A100.name, A100.memory_bytes) for n in range(gpus))
    asked = Experiment(models=("olmoe",), strategies=("tp", "tp+ep", "single"))
    plan = make_plan(asked, "vllm", found=found)
    assert {group.setup.strategy for group in plan.groups} == {"single", *fits}
    for refused in plan.refused:
        assert refused.setup.layout is not None
        assert refused.reasons[-1] == f"needs {refused.setup.layout.num_gpus} GPUs, {gpus} here"


def test_the_gpus_of_other_machines_count_where_servers_run_there() -> None:
    pool = Pool(hardware="A100-80GB", gpus_per_node={"A100-80GB": 2})
    asked = Experiment(models=("olmoe",), strategies=("tp", "tp+ep"))
    plan = make_plan(asked, "vllm", found=(A100,), pool=pool)
    assert {setup.hardware for setup in plan.setups} == {"A100-80GB"}
    assert {setup.strategy for setup in plan.setups} == {"tp"}
    (refused,) = plan.refused
    assert "needs 4 GPUs, 2 here" in refused.reasons


def test_what_is_here_is_taken_where_nothing_is_named_and_held_to_where_it_is() -> None:
    asked = Experiment(models=("olmoe",), strategies=("single",))
    assert make_plan(asked, "vllm", found=(A100,)).setups[0].hardware == "A100-80GB"
    named = msgspec.structs.replace(asked, hardware="H100")
    with pytest.raises(BadValue, match="what is here: A100-80GB"):
        make_plan(named, "vllm", found=(A100,))
    with pytest.raises(BadValue, match="what is here: CPU"):
        make_plan(named, "vllm")


def test_a_gpu_that_no_row_describes_is_told_of_beside_the_plan() -> None:
    odd = Device(0, "GPU-0", "NVIDIA T1000", 4 * 10**9)
    asked = Experiment(models=("olmoe",), strategies=("single",))
    plan = make_plan(asked, "vllm", found=(odd,))
    told = notices("first", plan)
    assert told.startswith("first\n")
    assert "NVIDIA T1000" in told
    assert notices("", make_plan(asked, "vllm", found=(A100,))) == ""


def test_a_cell_s_id_is_of_its_content_and_replicates_share_it() -> None:
    (setup,) = planned().setups
    (cell,) = cells_of(Experiment(workloads=("16:8:5",), concurrency="2"), setup)
    assert len(cell.cell_id) == 16
    assert int(cell.cell_id, 16) >= 0
    assert Run(cell, 3).run_id == f"{cell.cell_id}-r3"
    for change in (
        {"num_prompts": 6},
        {"seed": 1},
        {"load": LoadPoint(max_concurrency=3, request_rate=None, burstiness=None)},
        {"setup": msgspec.structs.replace(setup, server_args=("--x",))},
    ):
        assert msgspec.structs.replace(cell, **change).cell_id != cell.cell_id


def traffic(cell: Cell, replicate: int = 0) -> float:
    return float(cell.traffic_rng(replicate).random())


def test_traffic_differs_with_everything_but_the_server() -> None:
    (setup,) = planned().setups
    (cell,) = cells_of(Experiment(workloads=("16:8:5",), concurrency="2"), setup)
    other = msgspec.structs.replace(
        cell, setup=msgspec.structs.replace(setup, server_args=("--x",), layout=None)
    )
    assert traffic(other) == traffic(cell)
    assert traffic(cell, 1) != traffic(cell)
    for change in (
        {"num_prompts": 6},
        {"seed": 1},
        {"load": LoadPoint(max_concurrency=3, request_rate=None, burstiness=None)},
        {"setup": msgspec.structs.replace(setup, model="Mixtral-8x7B")},
    ):
        assert traffic(msgspec.structs.replace(cell, **change)) != traffic(cell)


def test_prompts_are_the_workload_s_unless_a_number_or_auto_is_asked_for() -> None:
    def counts(**asked: object) -> list[int]:
        return [run.cell.num_prompts for run in planned(concurrency="1,20", **asked).as_asked]

    assert counts() == [5, 5]
    assert counts(num_prompts=7) == [7, 7]
    assert counts(num_prompts="auto") == [64, 100]
    assert counts(workloads=("16:8:5", " 16:8:5 ")) == [5, 5], "one workload named twice"


def test_all_layouts_are_the_engine_s_and_of_a_running_server_one_without_a_name() -> None:
    every = layouts_of(Experiment(strategies=("all",)), ("tp", "ep"))
    assert [layout.name for layout in every if layout] == ["tp", "ep"]
    running = Experiment(strategies=("all",), endpoint="http://localhost:1")
    assert layouts_of(running, ("tp", "ep")) == (None,)
    named = Experiment(strategies=("tp4",), endpoint="http://localhost:1")
    assert [layout.name for layout in layouts_of(named, ("tp",)) if layout] == ["tp4"]


def test_constant_gaps_have_no_burstiness() -> None:
    plan = planned(request_rates=(2.0,), burstiness="constant")
    assert plan.runs[0].cell.load == LoadPoint(
        max_concurrency=None, request_rate=2.0, burstiness=None
    )
    assert planned(request_rates=(2.0,), burstiness=0.5).runs[0].cell.load.burstiness == 0.5
