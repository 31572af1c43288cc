"""A real Slurm on this host for tests that need one, shared by all tests of a module."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from orchestrator.store import Manifest, read_manifests

HERE = Path(__file__).parent / "cluster"
PROGRAMS = ("sbatch", "slurmctld", "slurmd", "munged", "unshare")


class Study(NamedTuple):
    """What became of a study: its directory, what was submitted, what was published."""

    root: Path
    submitted: list[dict[str, Any]]
    published: list[Manifest]


@dataclass
class Cluster:
    """A running Slurm, and moeserve's command line on its login node."""

    state: Path
    environment: dict[str, str]

    def do(self, command: str, node: str = "") -> None:
        words = [str(HERE / "cluster.sh"), command, str(self.state), *([node] if node else [])]
        subprocess.run(words, env=self.environment, check=True, timeout=120)

    def slurm(self, *words: str) -> str:
        """Run one of Slurm's commands."""
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, timeout=60, check=True
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
            timeout=240,
            check=False,
        )
        assert done.returncode in codes, (done.returncode, done.stdout, done.stderr)
        return done

    def submit(self, *words: str, path: str = "") -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(
            self.moeserve("submit", *words, "--format", "json", path=path).stdout
        )
        return rows

    def study(self, document: dict[str, Any], folder: Path, limit_s: float) -> Study:
        """Submit a study, wait until the queue is empty and every task is done."""
        file, root = folder / "study.yaml", folder / "out"
        file.write_text(json.dumps(document))
        rows = self.submit(str(file), "-o", str(root))
        self.until_over(limit_s)
        states = self.tasks(root)
        assert {task["state"] for task in states} == {"done"}, states
        return Study(root, rows, [each for each in read_manifests(root) if each.files])

    def tasks(self, root: Path) -> list[dict[str, Any]]:
        told = self.moeserve("status", str(root), "--format", "json").stdout
        rows: list[dict[str, Any]] = json.loads(told)
        return rows

    def until(self, what: Callable[[], bool], limit_s: float = 90.0) -> None:
        end = time.monotonic() + limit_s
        while not what():
            assert time.monotonic() < end, f"not within {limit_s:g} s"
            time.sleep(0.5)

    def until_over(self, limit_s: float = 180.0) -> None:
        """Wait until the queue is empty."""
        self.until(lambda: not self.slurm("squeue", "-h").strip(), limit_s)


@pytest.fixture(scope="module")
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
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
    for folder in (state, *state.parents[:2]):
        folder.chmod(0o755)
    port = str(13000 + os.getpid() % 400 * 20)
    conf = {"SLURM_CONF": str(state / "slurm.conf")}
    home = {"HOME": str(state)}
    started = Cluster(state, {**os.environ, "BASE_PORT": port, **shape, **conf, **home})
    try:
        started.do("start")
        yield started
    finally:
        started.do("stop")


@pytest.fixture
def no_process_left(tmp_path: Path) -> Iterator[None]:
    """Whatever a test's tasks started has ended a little after the test."""
    yield
    end = time.monotonic() + 20
    while left := [p for p in psutil.process_iter(["cmdline"]) if _of(p, tmp_path)]:
        assert time.monotonic() < end, [p.info["cmdline"] for p in left]
        time.sleep(0.5)


def _of(process: psutil.Process, folder: Path) -> bool:
    if process.pid == os.getpid() or not process.info["cmdline"]:
        return False
    try:
        named = str(folder) in " ".join(process.info["cmdline"])
        return named or f"{folder}" in process.environ().get("MOESERVE_TEST", "")
    except psutil.Error:
        return False
