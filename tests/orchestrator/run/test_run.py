"""A study on the simulated engine from plan to published runs, resumed, stopped and verified."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from catalog.errors import ServerDied
from orchestrator.engine import Measurement
from orchestrator.engines.simulated.engine import SimulatedSession
from orchestrator.experiment.experiment import Experiment
from orchestrator.plan import Study
from orchestrator.results.directory import default_directory
from orchestrator.results.manifests import read_manifests
from orchestrator.results.rows import rows_of
from orchestrator.run.events import GroupFailed, GroupStarted, RunEvent, RunFinished
from orchestrator.study import prepare, run_study
from orchestrator.table import request_table, run_rows
from orchestrator.verify import verify_directory
from tests.orchestrator.run.small import SMALL


async def study_of(experiment: Experiment = SMALL) -> Study:
    return await prepare(experiment)


async def do(root: Path, experiment: Experiment = SMALL) -> list[RunEvent]:
    events: list[RunEvent] = []
    await run_study(await study_of(experiment), root, listen=events.append)
    return events


def finished(events: list[RunEvent]) -> int:
    return sum(isinstance(event, RunFinished) for event in events)


async def test_every_run_of_a_study_is_published_once_and_verifies(tmp_path: Path) -> None:
    assert finished(await do(tmp_path)) == 4
    rows = run_rows(tmp_path)
    assert {row["verdict"] for row in rows} == {"valid"}
    assert {row["provenance"] for row in rows} == {"simulated"}
    assert verify_directory(tmp_path) == []


async def test_the_same_study_again_does_only_what_is_missing(tmp_path: Path) -> None:
    await do(tmp_path)
    assert finished(await do(tmp_path)) == 0
    (tmp_path / "runs" / f"{run_rows(tmp_path)[0]['run_id']}.json").unlink()
    assert finished(await do(tmp_path)) == 1
    assert len(run_rows(tmp_path)) == 4


async def test_a_simulated_study_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    await do(tmp_path / "a")
    await do(tmp_path / "b")
    for one, two in zip(
        read_manifests(tmp_path / "a"), read_manifests(tmp_path / "b"), strict=True
    ):
        assert one.files[0].sha256 == two.files[0].sha256


async def test_what_was_asked_is_what_was_served(tmp_path: Path) -> None:
    await do(tmp_path)
    for row in run_rows(tmp_path):
        assert row["completed"] == row["num_prompts"] == 6
        assert row["total_output_tokens"] == 6 * 8
        assert row["total_input_tokens"] == 6 * 16
        assert row["output_throughput_per_gpu"] == pytest.approx(row["output_throughput"] / 2)
        assert row["effective_concurrency"] <= row["max_concurrency"] + 1e-9


async def test_the_request_table_has_a_row_for_each_request_of_each_run(tmp_path: Path) -> None:
    await do(tmp_path)
    table = request_table(tmp_path)
    assert table.num_rows == 4 * 6
    assert set(table["status"].to_pylist()) == {"ok"}
    assert set(table["run_id"].to_pylist()) == {row["run_id"] for row in run_rows(tmp_path)}


async def test_stopping_between_runs_keeps_what_is_done_and_resumes(tmp_path: Path) -> None:
    stop, events = asyncio.Event(), []

    def listen(event: RunEvent) -> None:
        events.append(event)
        if finished(events) == 2:
            stop.set()

    await run_study(await study_of(), tmp_path, listen=listen, stop=stop)
    assert finished(events) == 2
    assert finished(await do(tmp_path)) == 2


async def test_a_server_that_dies_fails_its_runs_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SimulatedSession.measure

    async def measure(self: SimulatedSession, run: object, watch: object) -> Measurement:
        if self.server.step_model.layout.name == "ep":
            raise ServerDied("ENGINE_DEAD: gone", log_tail="the last line")
        return await real(self, run, watch)  # type: ignore[arg-type]

    monkeypatch.setattr(SimulatedSession, "measure", measure)
    events = await do(tmp_path)
    (failure,) = [event for event in events if isinstance(event, GroupFailed)]
    assert failure.log_tail == "the last line"
    by_verdict = {row["strategy"]: row["verdict"] for row in run_rows(tmp_path)}
    assert by_verdict == {"tp": "valid", "ep": "failed"}
    assert {row["verdict_reasons"] for row in run_rows(tmp_path) if row["strategy"] == "ep"} == {
        "ENGINE_DEAD"
    }
    monkeypatch.undo()
    assert finished(await do(tmp_path)) == 2
    assert {row["verdict"] for row in run_rows(tmp_path)} == {"valid"}


@pytest.mark.parametrize(("error", "starts"), [("ENGINE_DEAD: gone", 2), ("OOM_KV: full", 1)])
async def test_only_a_failure_that_may_pass_is_tried_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str, starts: int
) -> None:
    real, failed = SimulatedSession.measure, []

    async def measure(self: SimulatedSession, run: object, watch: object) -> Measurement:
        if not failed:
            failed.append(run)
            raise ServerDied(error)
        return await real(self, run, watch)  # type: ignore[arg-type]

    monkeypatch.setattr(SimulatedSession, "measure", measure)
    asked = Experiment(**{**_fields(SMALL), "strategies": ("tp",), "retries": 1})
    events = await do(tmp_path, asked)
    assert sum(isinstance(event, GroupStarted) for event in events) == starts
    verdicts = {row["verdict"] for row in run_rows(tmp_path)}
    assert verdicts == ({"valid"} if starts == 2 else {"failed"})


async def test_verify_finds_a_changed_file_a_missing_one_and_a_false_figure(tmp_path: Path) -> None:
    await do(tmp_path)
    first, second, third, _ = read_manifests(tmp_path)
    changed = tmp_path / first.files[0].path
    changed.write_bytes(changed.read_bytes()[:-1] + b"x")
    (tmp_path / second.files[0].path).unlink()
    lie = tmp_path / "runs" / f"{third.record.run_id}.json"
    told = f'"completed":{third.record.completed}'.encode()
    lie.write_bytes(lie.read_bytes().replace(told, b'"completed":5'))
    problems = {problem.run_id: problem.problem for problem in verify_directory(tmp_path)}
    assert "is not the file that was published" in problems[first.record.run_id]
    assert "is missing" in problems[second.record.run_id]
    assert problems[third.record.run_id] == "completed was published as 5, its rows give 6"
    assert len(problems) == 3


async def test_open_loop_rows_keep_their_due_times(tmp_path: Path) -> None:
    experiment = Experiment(
        engine="simulated",
        strategies=("tp",),
        workloads=("16:8:20",),
        request_rates=(50.0,),
        burstiness="constant",
    )
    await do(tmp_path, experiment)
    (manifest,) = read_manifests(tmp_path)
    due = sorted(row.due_s for row in rows_of(tmp_path / manifest.files[0].path))
    assert due == pytest.approx([0.02 * number for number in range(1, 21)])
    assert manifest.record.max_concurrency is None


def test_the_default_directory_is_named_by_what_is_studied() -> None:
    assert default_directory(SMALL) == default_directory(SMALL)
    more = default_directory(Experiment(**{**_fields(SMALL), "num_runs": 9}))
    other = default_directory(Experiment(**{**_fields(SMALL), "seed": 9}))
    assert more == default_directory(SMALL)
    assert other != default_directory(SMALL)


def test_lists_and_repeated_names_are_one_experiment_with_the_same_runs() -> None:
    lists = Experiment(strategies=("tp, ep[eplb=2,placement=linear]",), techniques=("none,fp8",))
    repeated = Experiment(
        strategies=("tp", "ep[eplb=2,placement=linear]"), techniques=("none", "fp8", "none")
    )
    assert lists == repeated
    assert default_directory(lists) == default_directory(repeated)
    other = Experiment(strategies=("ep[eplb=2,placement=linear],tp",), techniques=("none,fp8",))
    assert other != lists, "another order is measured in another order"


async def test_results_whose_lists_were_kept_as_typed_are_resumed(tmp_path: Path) -> None:
    experiment = Experiment(**{**_fields(SMALL), "strategies": ("tp", "ep")})
    assert await do(tmp_path, experiment)
    path = tmp_path / "experiment.json"
    stored = msgspec.json.decode(path.read_bytes())
    assert stored["strategies"] == ["tp", "ep"]
    path.write_bytes(msgspec.json.encode({**stored, "strategies": ["tp,ep"]}))
    typed = Experiment(**{**_fields(SMALL), "strategies": ("tp,ep",)})
    assert await do(tmp_path, typed) == []
    assert await do(tmp_path, experiment) == []


def _fields(experiment: Experiment) -> dict[str, object]:
    return {name: getattr(experiment, name) for name in experiment.__struct_fields__}
