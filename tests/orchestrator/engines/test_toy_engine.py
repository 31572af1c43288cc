"""The page on adding an engine is whole: an engine written from it alone runs every command."""

import asyncio
import csv
import importlib
import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import orchestrator.engines
from moeserve.cli import main
from moeserve.cli.slurm_submit import SubmitRequest, submit_study
from orchestrator.engines.registry import ENGINES
from orchestrator.experiment.experiment import Experiment
from orchestrator.host.ports import port_range
from tests.machine import limit, until
from tests.slurm.memory_slurm import MemorySlurm

PAGE = Path(__file__).parents[3] / "docs" / "adding-an-engine.md"
BLOCK = re.compile(r"```python (\w+\.py)\n(.*?)```", re.DOTALL)
STUDY = ["--engine", "toy", "-m", "tiny-olmoe", "-w", "16:8:4", "-c", "2"]
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The page's folder and its line in the registry; the page's package path holds both."""
    folder = tmp_path / "engines" / "toy"
    folder.mkdir(parents=True)
    blocks = dict(BLOCK.findall(PAGE.read_text()))
    line = blocks.pop("registry.py")
    for name, text in {"__init__.py": "", **blocks}.items():
        (folder / name).write_text(text)
    monkeypatch.setattr(
        orchestrator.engines, "__path__", [*orchestrator.engines.__path__, str(folder.parent)]
    )
    monkeypatch.setitem(ENGINES, "toy", "")
    exec(line, {"ENGINES": ENGINES})
    importlib.invalidate_caches()
    yield folder
    for name in [name for name in sys.modules if name.startswith("orchestrator.engines.toy")]:
        del sys.modules[name]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    def do(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return do


@pytest.mark.slow
@pytest.mark.usefixtures("toy")
def test_it_runs_a_study_whose_numbers_are_what_its_server_says(
    command: Command, tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    code, shown, told = command("run", *STUDY, "-o", out, "--format", "csv", "--quiet")
    assert code in (0, 5), told  # a loaded machine may cost the verdict, never the row
    (run,) = csv.DictReader(shown.splitlines())
    assert (run["engine"], run["strategy"], run["completed"]) == ("toy", "single", "4")
    assert run["provenance"] == "simulated", "the toy starts our simulated server, which says so"


@pytest.mark.usefixtures("toy")
def test_the_plan_shows_its_own_command_and_that_the_time_is_unknown(command: Command) -> None:
    code, shown, _ = command("plan", *STUDY, "--format", "json")
    assert code == 0
    assert "servers.simulated" in shown
    assert json.loads(shown)[0]["expected_wall_s"] is None


@pytest.mark.usefixtures("toy")
def test_several_devices_are_refused_as_its_record_says(command: Command) -> None:
    code, _, told = command("plan", *STUDY, "-s", "tp")
    assert code == 4, told
    assert "the toy engine serves on one device, tp needs 2" in told


def program(toy: Path) -> str:
    """What starts moeserve in a process of its own with the page's engine in place."""
    return (
        "import sys, orchestrator.engines as engines\n"
        "from orchestrator.engines.registry import ENGINES\n"
        f"engines.__path__.append({str(toy.parent)!r})\n"
        "ENGINES['toy'] = 'orchestrator.engines.toy.kind:KIND'\n"
        "from moeserve.cli import main\n"
        "main(sys.argv[1:])\n"
    )


@pytest.mark.slow
def test_help_offers_it(toy: Path) -> None:
    words = [sys.executable, "-c", program(toy), "run", "--help"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert re.search(r"--engine\b[^-]*\btoy\b", shown), shown


@pytest.mark.slow
def test_serve_starts_its_server_and_no_other(toy: Path) -> None:
    with port_range() as ports:
        words = ["serve", "--engine", "toy", "-m", "tiny-olmoe", "--port", str(ports.start)]
        with subprocess.Popen([sys.executable, "-c", program(toy), *words]) as serving:
            try:
                url = f"http://127.0.0.1:{ports.start}/v1/models"
                until(lambda: b"moeserve-simulated" in _answer(url) or serving.poll() is not None)
                serving.send_signal(signal.SIGINT)
                assert serving.wait(limit(30)) == 130
            finally:
                serving.kill()


def _answer(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=limit(5)) as reply:
            return bytes(reply.read())
    except OSError:
        return b""


@pytest.mark.usefixtures("toy")
def test_slurm_plans_a_task_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = Experiment(
        engine="toy", models=("tiny-olmoe",), workloads=("16:8:4",), concurrency="2"
    )
    rows = asyncio.run(
        submit_study(SubmitRequest(experiment), tmp_path / "out", dry_run=True, slurm=MemorySlurm())
    )
    assert [row["tasks"] for row in rows] == [1]
    assert "slurm.job.task" in capsys.readouterr().err


@pytest.mark.usefixtures("toy")
def test_doctor_asks_it_what_it_needs(command: Command) -> None:
    _, shown, _ = command("doctor", "--format", "csv")
    assert "aiohttp" in shown


def test_an_engine_that_is_not_there_is_an_error_everywhere(command: Command) -> None:
    for words in (["run"], ["plan"], ["serve"], ["estimate"]):
        code, shown, told = command(*words, "--engine", "vlm", "-m", "tiny-olmoe")
        assert (code, shown) == (2, ""), (words, told)
