"""A fault of moeserve's own costs the run that meets it, and no other."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from orchestrator.engine import Measurement
from orchestrator.engines.simulated.engine import SimulatedEngine, SimulatedSession
from orchestrator.experiment.experiment import Experiment
from orchestrator.results.rows import write_parquet
from orchestrator.run.events import GroupFailed, RunEvent
from orchestrator.study import prepare, run_study
from orchestrator.table import run_rows
from orchestrator.verify import verify_directory
from tests.orchestrator.run.small import SMALL


async def do(root: Path, experiment: Experiment = SMALL) -> list[RunEvent]:
    events: list[RunEvent] = []
    async with asyncio.timeout(60):
        await run_study(await prepare(experiment), root, listen=events.append)
    return events


def break_measuring(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    real = SimulatedSession.measure

    async def measure(self: SimulatedSession, run: object, watch: object) -> Measurement:
        if self.server.step_model.layout.name == "ep":
            raise error
        return await real(self, run, watch)  # type: ignore[arg-type]

    monkeypatch.setattr(SimulatedSession, "measure", measure)


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        OverflowError("too large to convert"),
        MemoryError("Unable to allocate 74.5 GiB"),
        ExceptionGroup("several", [ValueError("one")]),
        ConnectionResetError(104, "Connection reset by peer"),
        AssertionError(),
    ],
    ids=repr,
)
async def test_a_bug_is_a_failed_run_with_its_traceback_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    break_measuring(monkeypatch, error)
    await do(tmp_path)
    rows = run_rows(tmp_path)
    assert {row["strategy"]: row["verdict"] for row in rows} == {"tp": "valid", "ep": "failed"}
    for row in rows:
        if row["strategy"] == "ep":
            assert row["verdict_reasons"] == "BUG"
            name = f"{row['run_id']}.a1.traceback.txt"
            assert f"BUG: {type(error).__name__}" in str(row["error"])
            assert name in str(row["error"])
            assert "in measure" in (tmp_path / "failed" / name).read_text()
    assert verify_directory(tmp_path) == []
    monkeypatch.undo()
    await do(tmp_path)
    assert {row["verdict"] for row in run_rows(tmp_path)} == {"valid"}


async def test_a_bug_while_rows_are_written_is_one_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []

    def write(path: Path, *rest: object) -> None:
        calls.append(path)
        if len(calls) == 1:
            raise OverflowError("4294967296 values in one column")
        write_parquet(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("orchestrator.run.runner.write_parquet", write)
    await do(tmp_path)
    verdicts = sorted(str(row["verdict"]) for row in run_rows(tmp_path))
    assert verdicts == ["failed", "valid", "valid", "valid"]


async def test_a_bug_at_a_servers_start_fails_its_runs_and_the_next_server_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SimulatedEngine.open

    def opened(self: SimulatedEngine, group: object, *rest: object) -> object:
        if group.setup.strategy == "ep":  # type: ignore[attr-defined]
            raise KeyError("a setting")
        return real(self, group, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(SimulatedEngine, "open", opened)
    events = await do(tmp_path)
    (failure,) = [event for event in events if isinstance(event, GroupFailed)]
    assert failure.error.startswith("BUG: KeyError: 'a setting'; ")
    (kept,) = (tmp_path / "failed").glob("*.traceback.txt")
    assert "KeyError" in kept.read_text()
    rows = run_rows(tmp_path)
    assert {row["strategy"]: row["verdict"] for row in rows} == {"tp": "valid", "ep": "failed"}


async def test_a_search_that_meets_a_bug_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_measuring(monkeypatch, ValueError("always"))
    limits = {"ttft": 500.0, "tpot": 50.0}
    await do(tmp_path, msgspec.structs.replace(SMALL, find_max=True, goodput=limits))
    failed = [row for row in run_rows(tmp_path) if row["verdict"] == "failed"]
    assert [row["strategy"] for row in failed] == ["ep"]


async def test_a_failing_disk_stops_the_study_and_is_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_measuring(monkeypatch, OSError(28, "No space left on device"))
    with pytest.raises(Exception, match="DISK_FULL"):
        await do(tmp_path)
