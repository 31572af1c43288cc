"""An exploration keeps its budget, measures nothing twice, and learns from what it measured."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from analysis.landscape.explore import SAMPLERS, Sampler, best, explore
from analysis.landscape.measure import measured_by_run, space_of
from analysis.landscape.objective import parse_objectives
from analysis.landscape.ranked_landscape import parse_criteria
from analysis.landscape.ranking import Criteria
from analysis.landscape.space import Configuration, layouts_within
from catalog.errors import BadValue, Infeasible
from orchestrator.experiment.experiment import Experiment
from strategies.parse import parse_layouts

SPACE = [Configuration(layout, 2**p) for layout in layouts_within(4) for p in range(7)]


def asked(*limits: str) -> Criteria:
    return parse_criteria(parse_objectives([], ["rate"]), limits, how=None)


def metrics(each: Configuration) -> Mapping[str, float]:
    """A rate that rises with the load and a time that rises faster, best for two-way tensors."""
    load, layout = each.max_concurrency, each.layout
    fit = 1.0 / (1 + abs(layout.tp - 2) + layout.pp - 1)
    return {"rate": fit * load / (1 + load / 64), "time_s": 0.01 * load / fit}


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_budget_is_kept_and_nothing_is_measured_twice(sampler: Sampler) -> None:
    trials = explore(SPACE, metrics, asked("time_s <= 0.5 s"), budget=9, sampler=sampler, seed=1)
    assert len({trial.configuration for trial in trials}) == len(trials) == 9


def test_a_budget_beyond_the_space_measures_all_of_it() -> None:
    trials = explore(SPACE[:4], metrics, asked(), budget=99)
    assert {trial.place for trial in trials} == {0, 1, 2, 3}


@pytest.mark.slow
def test_the_process_finds_the_best_within_the_limits_and_meets_them() -> None:
    criteria = asked("time_s <= 0.2 s")
    trials = explore(SPACE, metrics, criteria, budget=15, seed=0)
    found = best(trials, criteria)
    assert found is not None
    assert found.metrics is not None
    assert found.metrics["time_s"] <= 0.2
    within = [metrics(each) for each in SPACE if metrics(each)["time_s"] <= 0.2]
    assert found.metrics["rate"] >= 0.95 * max(each["rate"] for each in within)


def test_runs_that_fail_are_passed_over() -> None:
    trials = explore(
        SPACE, lambda each: None if each.layout.ep else metrics(each), asked(), budget=12
    )
    found = best(trials, asked())
    assert len(trials) == 12
    assert found is not None
    assert not found.configuration.layout.ep


def test_several_objectives_are_refused() -> None:
    criteria = parse_criteria(parse_objectives(["time_s"], ["rate"]), [], how=None)
    with pytest.raises(BadValue, match="exactly one"):
        explore(SPACE, metrics, criteria, budget=3)


def test_configurations_are_measured_through_run_and_read_back_the_second_time(
    tmp_path: Path,
) -> None:
    experiment = Experiment(
        models=("tiny-olmoe",), workloads=("16:4:4",), engine="simulated", hardware="H100",
        concurrency="1,2",
    )  # fmt: skip
    space = space_of(experiment, parse_layouts(["tp,ep"]), hardware="H100")
    criteria = parse_criteria(
        parse_objectives([], ["output_throughput"]), ["mean_tpot_ms <= 1 s"], how=None
    )
    measure = measured_by_run(experiment, tmp_path, criteria)
    first = explore(space, measure, criteria, budget=3)
    written = sorted(tmp_path.rglob("*.json"))
    again = explore(space, measure, criteria, budget=3)
    assert [trial.metrics for trial in first] == [trial.metrics for trial in again]
    assert sorted(tmp_path.rglob("*.json")) == written
    assert best(first, criteria) is not None


def test_a_model_that_no_layout_can_carry_is_infeasible_before_anything_starts() -> None:
    experiment = Experiment(models=("DeepSeek-V3",), workloads=("decode-heavy",))
    with pytest.raises(Infeasible):
        space_of(experiment, layouts_within(2), hardware="A100-40GB")
