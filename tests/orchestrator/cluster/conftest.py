"""A real Ray cluster of three nodes, four made-up A100 each, and the command line against it."""

import asyncio
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.host.process import ServerProcess, marked_processes
from tests.machine import limit, slowness, until
from tests.tagged import Tagged

PROGRAM = Path(__file__).with_name("nodes_program.py")
MOESERVE = (sys.executable, "-W", "ignore", "-m", "moeserve")
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONWARNINGS": "ignore", "RAY_SCHEDULER_EVENTS": "0",
         "RAY_raylet_start_wait_time_s": "120"}  # fmt: skip


class RayTestCluster:
    """The nodes in a process tree of their own; `env` is what it takes to get in."""

    def __init__(
        self,
        folder: Path,
        names: tuple[str, ...],
        *,
        token: bool,
        path: str = "",
        **variables: str,
    ) -> None:
        self.folder, self.token = folder, folder / "token"
        self.token.write_text(secrets.token_hex(32))
        self.token.chmod(0o600)
        mode = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token)}
        self._process = ServerProcess(
            [sys.executable, str(PROGRAM), str(folder), str(slowness()), *names],
            log=folder / "log",
            env={
                **QUIET,
                **(mode if token else {"RAY_AUTH_MODE": "disabled"}),
                **({"PYTHONPATH": path} if path else {}),
                **variables,
            },
            grace_s=5,
        )
        try:
            until((folder / "address").exists, 90, told=self._process.log_tail)
        except BaseException:
            asyncio.run(self._process.stop())
            raise
        self.address = (folder / "address").read_text()

    def send(self, command: str) -> None:
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(limit(60))
            caller.connect(str(self.folder / "socket"))
            caller.sendall(command.encode())
            assert caller.recv(10) == b"done"

    def flags(self) -> list[str]:
        return ["--launcher", "ray", "--ray-address", self.address,
                "--ray-token-file", str(self.token)]  # fmt: skip

    def run(
        self, *words: str, quiet_s: float = 100, **variables: str
    ) -> "subprocess.CompletedProcess[str]":
        return moeserve("run", *self.flags(), *words, quiet_s=quiet_s, **variables)

    def start(self, *words: str) -> "BackgroundRun":
        """The same in the background, with real time on the simulated server."""
        return BackgroundRun(*self.flags(), *words)

    def moeserve(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return moeserve(*words)

    async def stop(self) -> None:
        await self._process.stop()
        assert marked_processes(self._process.marker) == []


def environment() -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return {**clean, "COLUMNS": "300"}


def moeserve(
    *words: str, quiet_s: float = 100, **variables: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*MOESERVE, *words],
        capture_output=True,
        text=True,
        timeout=limit(quiet_s),
        env={**environment(), **variables},
    )


class BackgroundRun:
    """`moeserve run` in the background, with what it says line by line."""

    def __init__(self, *words: str) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [*MOESERVE, "run", *words],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env=environment(),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
        self.process.stderr.close()

    def wait_for(self, pattern: str, quiet_s: float = 60) -> str:
        deadline = time.monotonic() + limit(quiet_s)
        while time.monotonic() < deadline:
            for line in list(self.lines):
                if found := re.search(pattern, line):
                    return found[1] if found.groups() else line
            assert self.process.poll() is None, "\n".join(self.lines)
            time.sleep(0.05)
        raise AssertionError("\n".join(self.lines))

    def end(self, quiet_s: float = 90) -> int:
        code = self.process.wait(limit(quiet_s))
        self._reader.join()
        return code


@pytest.fixture
def tagged() -> Tagged:
    return Tagged()


def need_ray() -> None:
    pytest.importorskip("ray", reason="needs Ray: pip install 'moeserve[ray]'")


def _cluster(
    folders: pytest.TempPathFactory, *, names: tuple[str, ...], token: bool, path: str = ""
) -> Iterator[RayTestCluster]:
    need_ray()
    cluster = RayTestCluster(folders.mktemp("ray"), names, token=token, path=path)
    yield cluster
    asyncio.run(cluster.stop())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayTestCluster]:
    yield from _cluster(tmp_path_factory, names=("n1", "n2", "n3"), token=True)


@pytest.fixture
def open_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayTestCluster]:
    yield from _cluster(tmp_path_factory, names=("n1",), token=False)


@pytest.fixture
def lost_head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayTestCluster]:
    yield from _cluster(tmp_path_factory, names=("n1",), token=True)


@pytest.fixture
def plugged_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayTestCluster]:
    """One node whose Python finds a vLLM plugin: its made-up GPUs are ranks on the CPU."""
    path = str(Path(__file__).with_name("raycpu"))
    yield from _cluster(tmp_path_factory, names=("n1",), token=True, path=path)


@pytest.fixture
def own_ray() -> Iterator[Callable[..., "subprocess.CompletedProcess[str]"]]:
    """The command line with a Ray that it starts itself; nothing of that is left afterwards."""
    need_ray()
    # Short, because Ray's sockets lie in it.
    with tempfile.TemporaryDirectory(prefix="ms", dir="/tmp") as folder:

        def call(*words: str, quiet_s: float = 100) -> "subprocess.CompletedProcess[str]":
            return moeserve(*words, quiet_s=quiet_s, TMPDIR=folder)

        yield call
        until(lambda: not _naming(folder), 20)


def _naming(folder: str) -> list[psutil.Process]:
    every = psutil.process_iter(["cmdline"])
    return [each for each in every if folder in " ".join(each.info["cmdline"] or ())]
