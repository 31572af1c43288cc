"""The vLLM engine against the simulated server, which takes vLLM's arguments and can fail."""

import asyncio
import sys
from pathlib import Path

import psutil
import pytest

from orchestrator.experiment.experiment import Experiment, ServerOptions
from orchestrator.host.process import MARKER
from orchestrator.results.manifests import read_manifests
from orchestrator.run.events import GroupFailed, RunEvent, RunFinished, Stage
from orchestrator.study import prepare, run_study
from orchestrator.table import run_rows
from orchestrator.verify import verify_directory
from tests.machine import against, limit

pytestmark = pytest.mark.slow  # each test starts servers of its own

SIMULATED = (sys.executable, "-m", "servers.simulated")


def experiment(*faults: str, **changes: object) -> Experiment:
    arguments = tuple(word for fault in faults for word in ("--fault", fault))
    options = ServerOptions(
        command=SIMULATED,
        args=("--hardware", "H100", *arguments),
        start_timeout_s=float(changes.pop("start_timeout_s", limit(30))),  # type: ignore[arg-type]
    )
    fields: dict[str, object] = {
        "models": ("tiny-olmoe",),
        "engine": "vllm",
        "strategies": ("ep",),
        "workloads": ("16:8:6",),
        "concurrency": "1,4",
        "retries": 0,
    }
    return Experiment(**{**fields, **changes}, server=options)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulated server needs the checkpoint's name alone: none is made."""
    monkeypatch.setattr("servers.tiny_checkpoint.checkpoint", lambda name: Path("/none") / name)


def servers() -> list[psutil.Process]:
    """Processes that a run of this test process started and left."""
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if process.status() != psutil.STATUS_ZOMBIE and MARKER in process.environ()
    ]


async def do(root: Path, asked: Experiment, stop: asyncio.Event | None = None) -> list[RunEvent]:
    events: list[RunEvent] = []
    before = servers()
    await run_study(await prepare(asked), root, listen=events.append, stop=stop)
    assert set(servers()) <= set(before)
    return events


def failures(events: list[RunEvent]) -> list[str]:
    return [event.error for event in events if isinstance(event, GroupFailed)]


async def test_every_layout_of_the_study_is_started_proved_measured_and_stopped(
    tmp_path: Path,
) -> None:
    events = await do(tmp_path, experiment(strategies=("all",)))
    assert failures(events) == []
    rows = run_rows(tmp_path)
    assert {found for row in rows for found in against(row)} == set()
    assert {(row["strategy"], row["num_gpus"]) for row in rows} == {
        ("single", 1),
        ("tp", 2),
        ("ep", 2),
        ("tp+ep", 4),
    }
    assert verify_directory(tmp_path) == []
    for manifest in read_manifests(tmp_path):
        assert manifest.details["server"]["observed_layout"] == manifest.record.strategy


async def test_numbers_of_the_simulated_server_are_never_called_measured(tmp_path: Path) -> None:
    await do(tmp_path, experiment())
    assert {row["provenance"] for row in run_rows(tmp_path)} == {"simulated"}


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("exit-at-start=1", "START_FAILED"),
        ("exit-at-start=0", "START_FAILED"),
        ("wrong-layout", "CONFIG_DRIFT"),
    ],
)
async def test_a_server_that_does_not_come_up_right_fails_all_its_runs_with_a_class(
    tmp_path: Path, fault: str, code: str
) -> None:
    (told,) = failures(await do(tmp_path, experiment(fault)))
    assert told.startswith(code)
    assert {row["verdict"] for row in run_rows(tmp_path)} == {"failed"}
    assert {row["verdict_reasons"] for row in run_rows(tmp_path)} == {code}


async def test_a_server_that_never_answers_is_given_up_at_its_deadline(tmp_path: Path) -> None:
    async with asyncio.timeout(limit(60)):
        events = await do(tmp_path, experiment("slow-start-s=600", start_timeout_s=2.0))
    (told,) = failures(events)
    assert told.startswith("START_TIMEOUT")


async def test_a_slow_start_is_waited_for(tmp_path: Path) -> None:
    assert failures(await do(tmp_path, experiment("slow-start-s=3"))) == []


async def test_a_rank_that_serves_nothing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.measure.readiness.PROBE_LIMIT_S", limit(2))
    (told,) = failures(await do(tmp_path, experiment("dead-rank=1")))
    assert told.startswith("RANK_NOT_READY: data-parallel ranks 1")


async def test_a_server_whose_engine_dies_with_code_0_is_a_failure_not_a_success(
    tmp_path: Path,
) -> None:
    (told,) = failures(await do(tmp_path, experiment("die-after-tokens=60")))
    assert told.startswith("ENGINE_DEAD")
    verdicts = {row["verdict"] for row in run_rows(tmp_path)}
    assert "failed" in verdicts


@pytest.mark.parametrize("fault", ["cut-after-tokens=3", "error-after-tokens=3", "usage-off-by=1"])
async def test_a_server_whose_streams_lie_or_break_never_counts_as_ready(
    tmp_path: Path, fault: str
) -> None:
    (told,) = failures(await do(tmp_path, experiment(fault)))
    assert told.startswith("NOT_READY")


async def test_a_burst_of_errors_during_a_run_makes_it_invalid_and_keeps_its_rows(
    tmp_path: Path,
) -> None:
    # The probes of two ranks are three requests a round, the warm-up one a slot.
    await do(tmp_path, experiment("fail-every=11", concurrency="1", workloads=("16:8:40",)))
    (row,) = run_rows(tmp_path)
    assert row["verdict"] == "invalid"
    assert against(row) == {"ERRORS"}
    assert row["completed"] + row["failed"] == 40


async def test_a_server_that_ignores_term_is_still_taken_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.host.process.GRACE_S", 1.0)
    assert failures(await do(tmp_path, experiment("ignore-term", concurrency="1"))) == []


async def test_stopping_while_a_server_starts_takes_it_down_and_fails_nothing(
    tmp_path: Path,
) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(1.0, stop.set)
    events = await do(tmp_path, experiment("slow-start-s=600"), stop)
    assert failures(events) == []
    assert run_rows(tmp_path) == []


async def test_stopping_in_a_run_marks_it_interrupted_and_it_is_done_again(tmp_path: Path) -> None:
    asked = experiment("slow-factor=5", workloads=("16:256:4",), concurrency="1")
    stop = asyncio.Event()

    def listen(event: RunEvent) -> None:
        if isinstance(event, Stage) and event.text == "measuring":
            asyncio.get_running_loop().call_later(0.5, stop.set)

    before = servers()
    await run_study(await prepare(asked), tmp_path, listen=listen, stop=stop)
    (row,) = run_rows(tmp_path)
    assert row["verdict"] == "interrupted"
    assert set(servers()) <= set(before)
    finished = [e for e in await do(tmp_path, asked) if isinstance(e, RunFinished)]
    assert [event.record.completed for event in finished] == [4]
    assert [row["attempt"] for row in run_rows(tmp_path)] == [2]
