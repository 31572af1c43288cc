"""`moeserve watch`, `run --live` and `run --report` as a user meets them."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from moeserve.cli import main
from moeserve.cli.watch import live_page
from tests.machine import limit

SMALL = ["--engine", "simulated", "--strategy", "tp,ep", "--workload", "16:8:6", "-c", "1,4"]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def state(port: int) -> dict[str, object]:
    """What the page is told, once it is there."""
    end = time.monotonic() + limit(30)
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/state", timeout=limit(5)) as told:
                found: dict[str, object] = json.loads(told.read())
                return found
        except urllib.error.URLError:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_a_directory_without_results_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("watch", str(tmp_path)) == 2
    assert "is not a results directory" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["99999", "-1"])
def test_a_port_that_is_none_is_refused(
    port: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    assert run("watch", str(tmp_path), "--port", port) == 2
    assert f"--port: got {port}" in capsys.readouterr().err


@pytest.mark.slow
def test_the_report_is_written_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, out = tmp_path / "r.html", str(tmp_path / "out")
    assert run("run", *SMALL, "-o", out, "--report", str(page)) == 0
    assert f"report in {page}" in capsys.readouterr().err
    assert "4 of 4 simulated runs count" in page.read_text()


@pytest.mark.parametrize("name", ["r.pdf", "absent/r.html"])
def test_a_report_that_could_not_be_written_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    out = tmp_path / "out"
    assert run("run", *SMALL, "-o", str(out), "--report", str(tmp_path / name)) == 2
    assert "--report" in capsys.readouterr().err
    assert not out.exists()


def test_a_folder_that_takes_no_report_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: path != tmp_path)
    out = tmp_path / "out"
    assert run("run", *SMALL, "-o", str(out), "--report", str(tmp_path / "r.html")) == 2
    assert "--report" in capsys.readouterr().err
    assert not out.exists()


def test_a_taken_port_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert run("run", *SMALL, "-o", str(out), "--live", port) == 2
        told = capsys.readouterr().err
        assert "--live" in told
        assert "a free port" in told
    assert not out.exists()


@pytest.mark.slow
def test_the_page_of_a_run_is_there_while_it_runs_and_tells_its_end(tmp_path: Path) -> None:
    """Slow: the page is a process of its own."""
    out, port = tmp_path / "out", free_port()
    with live_page(out, port):
        assert state(port)["there"] is False
        run("run", *SMALL, "-o", str(out), "-q")
        time.sleep(1.1)  # the directory is read once a second
        assert state(port)["left"] == 0
        ends: list[object] = []

        def wait_for_the_end() -> None:
            while not ends:
                if state(port)["ended"]:
                    ends.append(True)
                time.sleep(0.05)

        asking = threading.Thread(target=wait_for_the_end)
        asking.start()
    asking.join(limit(20))
    assert ends == [True]
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5)


@pytest.mark.slow
def test_the_page_ends_with_a_run_that_is_killed(tmp_path: Path) -> None:
    port = free_port()
    code = (
        "import time, pathlib; from moeserve.cli.watch import live_page\n"
        f"with live_page(pathlib.Path({str(tmp_path)!r}), {port}): time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as parent:
        state(port)
        parent.kill()
    end = time.monotonic() + limit(20)
    with pytest.raises(urllib.error.URLError):
        while time.monotonic() < end:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
            time.sleep(0.1)
