"""The search for the highest load: what it tries, what it finds, and that it resumes."""

import json
from pathlib import Path

import msgspec
import pytest

from catalog.errors import BadValue
from orchestrator.experiment.experiment import Experiment
from orchestrator.measure.traffic import unwritten
from orchestrator.plan import make_plan
from orchestrator.results.manifests import read_manifests
from orchestrator.run.capacity_search import CapacitySearch, search_rows, searches
from orchestrator.run.events import RunEvent, RunFinished
from orchestrator.study import prepare, run_study

SEARCH = Experiment(
    models=("mixtral",),
    engine="simulated",
    strategies=("tp",),
    workloads=("decode-heavy",),
    find_max=True,
    goodput={"ttft": 500.0, "tpot": 50.0},
)


async def search(root: Path, experiment: Experiment) -> tuple[list[int], dict[str, object]]:
    """Return the levels tried, in order, and the row found."""
    events: list[RunEvent] = []
    study = await prepare(experiment)
    await run_study(study, root, listen=events.append)
    done = [event.record for event in events if isinstance(event, RunFinished)]
    records = {m.record.run_id: m.record for m in read_manifests(root)}
    (row,) = search_rows(study.plan, records)
    return [int(record.max_concurrency or record.request_rate or 0) for record in done], dict(row)


async def test_a_search_doubles_then_bisects_to_neighbours_of_the_border(tmp_path: Path) -> None:
    tried, row = await search(tmp_path, SEARCH)
    assert tried[:6] == [1, 2, 4, 8, 16, 32]
    assert all(16 < level < 32 for level in tried[6:])
    assert row["complete"] is True
    highest, failed = row["highest"], row["next_failed"]
    assert isinstance(highest, int)
    assert isinstance(failed, int)
    assert highest < failed <= highest * 1.05 + 1


async def test_every_level_below_the_border_met_the_limits_and_the_one_above_did_not(
    tmp_path: Path,
) -> None:
    _, row = await search(tmp_path, SEARCH)
    for manifest in read_manifests(tmp_path):
        record = manifest.record
        assert record.num_prompts >= 5 * (record.max_concurrency or 0)
        met = record.extra["slo_attainment"] >= 0.99  # type: ignore[operator]
        assert met == ((record.max_concurrency or 0) <= row["highest"])  # type: ignore[operator]
    assert row["slo_attainment_low"] <= row["slo_attainment"] <= row["slo_attainment_high"]  # type: ignore[operator]


def searched(*workloads: str) -> CapacitySearch:
    experiment = msgspec.structs.replace(SEARCH, models=("tiny-olmoe",), workloads=workloads)
    (group,) = make_plan(experiment, "simulated").groups
    (search, *_) = searches(experiment, group)
    return search


def test_a_level_of_a_mix_has_a_request_of_each_class_and_one_of_a_trace_those_asked_for(
    tmp_path: Path,
) -> None:
    mixed = searched("a=16:8@299+b=64:8@1,prompts=300").run_at(4)
    assert mixed.cell.num_prompts == 300
    trace = tmp_path / "t.jsonl"
    rows = [{"timestamp": at * at * 100, "input_length": 9, "output_length": 2} for at in range(9)]
    trace.write_text("".join(json.dumps(row) + "\n" for row in rows))
    traced = searched(f"trace:{trace},prompts=3").run_at(4.0)
    assert traced.cell.num_prompts == 3
    assert unwritten(traced).due_s == pytest.approx([0, 0.125, 0.5]), "four a second"


@pytest.mark.slow
async def test_a_finished_search_tries_nothing_again_and_a_torn_one_goes_on(tmp_path: Path) -> None:
    tried, row = await search(tmp_path, SEARCH)
    again, same = await search(tmp_path, SEARCH)
    assert again == []
    assert same == row
    last = next(
        m.record.run_id for m in read_manifests(tmp_path) if m.record.max_concurrency == tried[-1]
    )
    (tmp_path / "runs" / f"{last}.json").unlink()
    resumed, same = await search(tmp_path, SEARCH)
    assert resumed == [tried[-1]]
    assert same == row


async def test_levels_given_bound_the_search(tmp_path: Path) -> None:
    bounded = Experiment(**{**_fields(SEARCH), "concurrency": "4..16"})
    tried, row = await search(tmp_path, bounded)
    assert tried == [4, 8, 16]
    assert (row["highest"], row["next_failed"], row["complete"]) == (16, None, True)


async def test_limits_that_no_load_meets_give_no_level(tmp_path: Path) -> None:
    hopeless = Experiment(**{**_fields(SEARCH), "goodput": {"ttft": 0.001}})
    tried, row = await search(tmp_path, hopeless)
    assert tried == [1]
    assert (row["highest"], row["next_failed"]) == (None, 1)


@pytest.mark.slow
async def test_a_search_over_rates_is_an_open_loop(tmp_path: Path) -> None:
    rates = Experiment(**{**_fields(SEARCH), "request_rates": (1.0, 64.0)})
    _, row = await search(tmp_path, rates)
    assert row["searched"] == "request_rate"
    assert row["highest"] < row["next_failed"]  # type: ignore[operator]
    assert {m.record.max_concurrency for m in read_manifests(tmp_path)} == {None}


async def test_a_search_without_limits_is_refused() -> None:
    with pytest.raises(BadValue, match="--goodput ttft:200"):
        await prepare(Experiment(**{**_fields(SEARCH), "goodput": {}}))


def _fields(experiment: Experiment) -> dict[str, object]:
    return {name: getattr(experiment, name) for name in experiment.__struct_fields__}
