"""Stopping the command: once cleans up, and even a kill leaves no server."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.host.process import MARKER
from tests.machine import limit, until

pytestmark = pytest.mark.slow  # each test starts a command with a server of its own

SERVER = f"{sys.executable} -m servers.simulated"
SLOW = ["--server-arg=--hardware=H100", "--server-arg=--fault", "--server-arg=slow-factor=20"]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    study = ["--model", "OLMoE-1B-7B", "--strategy", "ep", "--workload", "16:64:200", "-c", "2"]
    return [
        *(sys.executable, "-m", "moeserve", "run", "--engine", "vllm"),
        *study,
        *("--server-command", SERVER, *SLOW),
        *("-o", str(tmp_path / "out")),
    ]


def marks(process: psutil.Process) -> set[str]:
    """Markers of the servers below a process."""
    found = set()
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            found.add(child.environ().get(MARKER, ""))
    return found - {""}


def alive(marker: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARKER) == marker:
                yield process


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_however_the_command_ends_its_server_ends_too(
    command: list[str], number: signal.Signals, code: int, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with log.open("w") as sink:
        running = subprocess.Popen(command, stdout=sink, stderr=sink)
    try:
        until(lambda: "measuring" in log.read_text(), 60, told=log.read_text)
        (marker,) = marks(psutil.Process(running.pid))
        running.send_signal(number)
        assert running.wait(limit(60)) == code
        until(lambda: not list(alive(marker)), 60)
    finally:
        running.kill()
        running.wait()
    if number != signal.SIGKILL:
        (failed,) = (tmp_path / "out" / "failed").glob("*.json")
        assert json.loads(failed.read_text())["record"]["verdict"] == "interrupted"
        assert "goes on where this one stopped" in log.read_text()
