"""A real Slurm on this host for tests that need one, shared by all tests of a module."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from orchestrator.results.manifests import Manifest, read_manifests
from tests.machine import limit, until

HERE = Path(__file__).parent / "cluster"
PROGRAMS = ("sbatch", "slurmctld", "slurmd", "munged", "unshare")


class StudyOutcome(NamedTuple):
    """What became of a study: its directory, what was submitted, what was published."""

    root: Path
    submitted: list[dict[str, Any]]
    published: list[Manifest]


@dataclass
class SlurmTestCluster:
    """A running Slurm, and moeserve's command line on its login node."""

    state: Path
    environment: dict[str, str]

    def do(self, command: str, node: str = "") -> None:
        words = [str(HERE / "cluster.sh"), command, str(self.state), *([node] if node else [])]
        subprocess.run(words, env=self.environment, check=True, timeout=limit(120))

    def slurm(self, *words: str) -> str:
        """Run one of Slurm's commands."""
        done = subprocess.run(
            words,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=limit(60),
            check=True,
        )
        return done.stdout

    def moeserve(
        self, *words: str, codes: tuple[int, ...] = (0,), path: str = ""
    ) -> subprocess.CompletedProcess[str]:
        environment = dict(self.environment)
        if path:
            environment["PATH"] = f"{path}:{environment['PATH']}"
        done = subprocess.run(
            [sys.executable, "-P", "-m", "moeserve", "slurm", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=limit(240),
            check=False,
        )
        assert done.returncode in codes, (done.returncode, done.stdout, done.stderr)
        return done

    def submit(self, *words: str, path: str = "") -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(
            self.moeserve("submit", *words, "--format", "json", path=path).stdout
        )
        return rows

    def study(self, document: dict[str, Any], folder: Path, quiet_s: float) -> StudyOutcome:
        """Submit a study, wait until the queue is empty and every task is done."""
        file, root = folder / "study.yaml", folder / "out"
        file.write_text(json.dumps(document))
        rows = self.submit(str(file), "-o", str(root))
        self.until_over(quiet_s)
        self.assert_all_done(root)
        return StudyOutcome(root, rows, [each for each in read_manifests(root) if each.files])

    def tasks(self, root: Path) -> list[dict[str, Any]]:
        told = self.moeserve("status", str(root), "--format", "json").stdout
        rows: list[dict[str, Any]] = json.loads(told)
        return rows

    def assert_all_done(self, root: Path) -> None:
        """Fail with the tasks' states, journals and the ends of their logs if one is not done."""
        states = self.tasks(root)
        if {task["state"] for task in states} != {"done"}:
            told = [f"{path}:\n{path.read_text()[-4000:]}" for path in _told_by_tasks(root)]
            pytest.fail("\n".join((json.dumps(states, indent=1), *told)), pytrace=False)

    def until_over(self, quiet_s: float = 180.0) -> None:
        """Wait until the queue is empty."""
        until(lambda: not self.slurm("squeue", "-h").strip(), quiet_s, told=self.queue)

    def queue(self) -> str:
        return self.slurm("squeue")


def _told_by_tasks(root: Path) -> list[Path]:
    """The journals and logs of all tasks, and what failed runs left behind."""
    names = ("slurm/*/tasks/*.jsonl", "slurm/*/logs/*.log", "failed/*.json", "servers/*/server.log")
    return [path for name in names for path in sorted(root.glob(name))]


@pytest.fixture(scope="module")
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SlurmTestCluster]:
    """Start a Slurm as the module's SHAPE says (see cluster.sh)."""
    shape: dict[str, str] = getattr(request.module, "SHAPE", {})
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no Slurm here: {', '.join(missing)} not installed")
    if os.getuid() != 0:
        pytest.skip("a Slurm of its own needs root")
    if shape.get("ACCT") == "dbd" and not (shutil.which("slurmdbd") and shutil.which("mariadbd")):
        pytest.skip("no accounting here: slurmdbd and mariadbd not installed")
    state = tmp_path_factory.mktemp("slurm")
    for folder in (state, *state.parents[:3]):  # another user's daemon goes through them
        folder.chmod(folder.stat().st_mode | 0o055)
    port = str(13000 + os.getpid() % 400 * 20)
    # A bridge of an interrupted session lives on, and must not be met again.
    shape = {"SUBNET": f"10.77.{os.getpid() % 250}", **shape}
    conf = {"SLURM_CONF": str(state / "slurm.conf")}
    home = {"HOME": str(state)}
    started = SlurmTestCluster(state, {**os.environ, "BASE_PORT": port, **shape, **conf, **home})
    try:
        started.do("start")
        yield started
    finally:
        started.do("stop")


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between questions are not what tests on the Slurm in memory are about."""
    monkeypatch.setattr("slurm.submit.submit.FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr("slurm.watch.cancel.POLL_S", 0.0)


@pytest.fixture
def no_process_left(tmp_path: Path) -> Iterator[None]:
    """Whatever a test's tasks started has ended a little after the test."""
    yield

    def left() -> list[list[str]]:
        every = psutil.process_iter(["cmdline"])
        return [each.info["cmdline"] for each in every if _of(each, tmp_path)]

    until(lambda: not left(), 20, told=left)


def _of(process: psutil.Process, folder: Path) -> bool:
    if process.pid == os.getpid() or not process.info["cmdline"]:
        return False
    try:
        named = str(folder) in " ".join(process.info["cmdline"])
        return named or f"{folder}" in process.environ().get("MOESERVE_TEST", "")
    except psutil.Error:
        return False
