"""Folders and files beside the user that are named like modules of ours change nothing."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import moeserve
from catalog.python import environment_for, python_module, safe_children
from orchestrator.host.ports import port_range
from tests.machine import limit

ROOT = Path(moeserve.__file__).parents[1]
PACKAGES = (
    "analysis catalog diffusion_study microbench moeserve orchestrator perfmodel servers slurm "
    "strategies workloads"
)
OTHERS = "uvloop numpy msgspec aiohttp ray vllm torch psutil multiprocessing random typer site"
TRAP = 'import os; open(os.environ["TRAP"], "a").write(__file__ + "\\n")\n'
SERVE = ("serve", "--engine", "simulated", "--served-model-name", "OLMoE-1B-7B", "--port")
STUDY = ("-w", "16:8:6", "-c", "2", "--num-warmups", "1")


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A working directory with a trap under every name, and a file that tells who fell in."""
    folder = tmp_path / "beside"
    for name in PACKAGES.split():
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(TRAP)
    for name in OTHERS.split():
        (folder / f"{name}.py").write_text(TRAP)
    return folder


def moeserve_there(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command from that folder, as its installed script does."""
    program = "import sys; from moeserve.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-P", "-c", program, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TRAP": str(folder / "trapped")},
        capture_output=True,
        text=True,
        timeout=limit(120),
        check=False,
    )


def trapped(folder: Path) -> str:
    file = folder / "trapped"
    return file.read_text() if file.exists() else ""


def test_a_trap_is_a_trap(beside: Path) -> None:
    """Python as it is started without care does fall in."""
    environment = {**os.environ, "TRAP": str(beside / "trapped")}
    subprocess.run([sys.executable, "-m", "uvloop"], cwd=beside, env=environment, check=False)
    assert "uvloop.py" in trapped(beside)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("run", "--engine", "simulated", "-s", "tp", *STUDY, "-o", "out"),
        ("plan", "--engine", "simulated", "-s", "tp", *STUDY),
        ("estimate", "-s", "tp", *STUDY, "--format", "csv"),
    ],
    ids=lambda words: words[0],
)
def test_a_command_runs_nothing_of_the_folder_it_is_called_from(
    words: tuple[str, ...], beside: Path
) -> None:
    done = moeserve_there(beside, *words)
    assert done.returncode == 0, done.stderr
    assert trapped(beside) == ""


@pytest.mark.slow
def test_a_served_and_measured_server_runs_nothing_of_the_folder(
    beside: Path, tmp_path: Path
) -> None:
    """Server, supervisor, null server and the client's own processes, all from that folder."""
    program = "import sys; from moeserve.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TRAP": str(beside / "trapped")}
    with (
        port_range() as ports,
        subprocess.Popen(
            [sys.executable, "-P", "-c", program, *SERVE, str(ports.start)],
            cwd=beside,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as serving,
    ):
        try:
            assert serving.stderr is not None
            url = next(_urls(serving.stderr))
            done = moeserve_there(
                beside, "run", "--endpoint", url, "-s", "tp", *STUDY, "-o", "out",
                "--client-workers", "2",
            )  # fmt: skip
        finally:
            serving.terminate()
    assert done.returncode in (0, 5), done.stderr
    assert trapped(beside) == ""


def _urls(lines: object) -> Iterator[str]:
    for line in lines:  # type: ignore[attr-defined]
        if found := re.search(r"http://[0-9.]+:\d+", line):
            yield found[0]


def test_what_a_library_starts_in_turn_runs_nothing_of_the_folder(beside: Path) -> None:
    program = (
        "import multiprocessing, os\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from catalog.python import safe_children\n"
        "context = multiprocessing.get_context('spawn')\n"
        "with safe_children(), ProcessPoolExecutor(1, context) as pool:\n"
        "    assert pool.submit(abs, -1).result() == 1\n"
        "assert 'PYTHONSAFEPATH' not in os.environ\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TRAP": str(beside / "trapped")}
    environment.pop("PYTHONSAFEPATH", None)
    subprocess.run([sys.executable, "-P", "-c", program], cwd=beside, env=environment, check=True)
    assert trapped(beside) == ""


@pytest.mark.slow
def test_every_python_that_is_started_is_started_by_the_one_helper() -> None:
    """`sys.executable` stands in few places, each safe: the helper's, the supervisor's, a name."""
    allowed = {
        "catalog/python.py",  # the helper
        "catalog/errors.py",  # a command for the user to give
        "orchestrator/host/process.py",  # -I, which is -P and more
        "orchestrator/host/environment.py",  # its name alone
        "servers/tiny_checkpoint.py",  # the helper's default
        "slurm/submit/submit.py",  # -P, for the Python of another machine
        "slurm/submit/follow_ups.py",  # likewise
    }
    users = set()
    for package in PACKAGES.split():
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.executable":
                    users.add(path.relative_to(ROOT).as_posix())
    assert users == allowed


def test_the_job_of_an_array_and_what_follows_it_are_started_safely(tmp_path: Path) -> None:
    submit = ROOT / "slurm" / "submit"
    text = (submit / "submit.py").read_text() + (submit / "follow_ups.py").read_text()
    calls = re.findall(r"program\(\s*sys\.executable,\s*root,\s*(?:options|outside),", text)
    assert len(calls) == 2
    assert 'return ["-P", "-m", "slurm.job.task"' in text
    assert '["-P", "-m", "moeserve"' in text


def test_the_helper_keeps_the_folder_out_and_a_users_own_script_as_it_is() -> None:
    assert python_module("m", "-W", "ignore", python="py") == [
        "py",
        "-P",
        "-W",
        "ignore",
        "-m",
        "m",
    ]
    assert environment_for(python_module("m")) == {"PYTHONSAFEPATH": "1"}
    assert environment_for(["python", "server.py", "-P"]) == {}
    before = os.environ.get("PYTHONSAFEPATH")
    with safe_children():
        assert os.environ["PYTHONSAFEPATH"] == "1"
    assert os.environ.get("PYTHONSAFEPATH") == before


@pytest.mark.slow
def test_python_m_moeserve_keeps_the_folder_out_but_for_moeserve_itself(beside: Path) -> None:
    for path in (beside / "moeserve").iterdir():
        path.unlink()
    (beside / "moeserve").rmdir()
    done = subprocess.run(
        [sys.executable, "-m", "moeserve", "strategies", "--format", "json"],
        cwd=beside,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TRAP": str(beside / "trapped")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    assert trapped(beside) == ""


def test_a_working_directory_that_is_gone_stops_no_command_that_needs_none(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    program = "import os, runpy, sys; os.rmdir(os.getcwd()); sys.argv[1:] = ['--version']; "
    done = subprocess.run(
        [sys.executable, "-P", "-c", program + "runpy.run_module('moeserve', run_name='__main__')"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=limit(60),
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
