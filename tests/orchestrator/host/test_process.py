"""Servers end with everything they started, however the one who asked for them ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from orchestrator.host.ports import port_range
from orchestrator.host.process import MARKER, ServerProcess, Within, marked_processes
from tests.machine import until_async

# A server with a child in a session of its own that ignores TERM, as an engine's workers may.
STUBBORN = """
import os, subprocess, sys, time
child = (
    "import os, signal, time; os.setsid(); signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('child', flush=True); time.sleep(600)"
)
subprocess.Popen([sys.executable, "-c", child])
print("up", flush=True)
time.sleep(600)
"""

# Starts the server and then reports what the test needs to find it again.
OWNER = f"""
import sys, time
from pathlib import Path
from orchestrator.host.process import ServerProcess
process = ServerProcess(
    [sys.executable, "-c", {STUBBORN!r}], log=Path(sys.argv[1]), env={{}}, grace_s=0.5
)
print(process.marker, flush=True)
time.sleep(600)
"""


async def test_stopping_leaves_no_process_not_even_one_that_hid_and_ignores_term(
    tmp_path: Path,
) -> None:
    server = ServerProcess(
        [sys.executable, "-c", STUBBORN], log=tmp_path / "log", env={}, grace_s=0.5
    )
    await until_async(lambda: "child" in server.log_text() and "up" in server.log_text())
    assert len(marked_processes(server.marker)) == 3
    await server.stop()
    assert marked_processes(server.marker) == []
    await server.stop()  # twice is harmless


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
async def test_a_server_does_not_outlive_the_process_that_started_it(
    tmp_path: Path, number: signal.Signals
) -> None:
    log = tmp_path / "log"
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(log)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    marker = owner.stdout.readline().strip()
    await until_async(lambda: log.exists() and "child" in log.read_text())
    owner.send_signal(number)
    owner.wait()
    owner.stdout.close()
    await until_async(lambda: not marked_processes(marker))


async def test_a_supervisor_killed_itself_takes_the_server_along_once_stopped(
    tmp_path: Path,
) -> None:
    server = ServerProcess(
        [sys.executable, "-c", STUBBORN], log=tmp_path / "log", env={}, grace_s=0.5
    )
    await until_async(lambda: "child" in server.log_text())
    os.kill(server.pid, signal.SIGKILL)
    await until_async(lambda: server.exit_code is not None)
    assert marked_processes(server.marker), "nobody took the server along yet"
    await server.stop()
    await until_async(lambda: not marked_processes(server.marker))


@pytest.mark.parametrize(("program", "code"), [("raise SystemExit(0)", 0), ("exit(7)", 7)])
async def test_an_end_nobody_asked_for_is_seen_with_its_code(
    tmp_path: Path, program: str, code: int
) -> None:
    server = ServerProcess([sys.executable, "-c", program], log=tmp_path / "log", env={})
    await until_async(lambda: server.exit_code is not None)
    assert server.exit_code == code
    await server.stop()


async def test_shared_memory_that_only_the_server_had_is_unlinked(tmp_path: Path) -> None:
    name = f"/dev/shm/moeserve-test-{os.getpid()}"
    program = (
        f"import mmap, time; f = open({name!r}, 'wb+'); f.truncate(4096);"
        "m = mmap.mmap(f.fileno(), 4096); print('up', flush=True); time.sleep(600)"
    )
    server = ServerProcess(
        [sys.executable, "-c", program], log=tmp_path / "log", env={}, grace_s=0.5
    )
    await until_async(lambda: "up" in server.log_text())
    assert Path(name).exists()
    await server.stop()
    assert not Path(name).exists()


async def test_terminal_escapes_of_a_server_do_not_reach_ours(tmp_path: Path) -> None:
    server = ServerProcess(
        [sys.executable, "-c", r"print('\x1b[31mred\x07', flush=True)"],
        log=tmp_path / "log",
        env={},
    )
    await until_async(lambda: server.exit_code is not None)
    assert "\x1b" not in server.log_tail()
    assert "red" in server.log_tail()
    await server.stop()


def test_other_processes_do_not_carry_the_marker() -> None:
    assert MARKER not in psutil.Process().environ()
    assert marked_processes("no such marker") == []


def test_ranges_of_ports_held_at_once_do_not_overlap() -> None:
    with port_range() as one, port_range() as two:
        assert not set(one) & set(two)
    with port_range() as again:
        assert again.start <= max(one.start, two.start)


# As a Ray worker ends: its direct children are killed with -9, then it is gone itself.
WORKER = OWNER.replace("grace_s=0.5", "grace_s=0.5, detached=True")


@pytest.mark.slow
async def test_a_detached_server_ends_though_its_owner_kills_its_own_children_first(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    owner = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(log)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    marker = owner.stdout.readline().strip()
    await until_async(lambda: log.exists() and "child" in log.read_text())
    for child in psutil.Process(owner.pid).children():
        child.kill()
    owner.kill()
    owner.wait()
    owner.stdout.close()
    await until_async(lambda: not marked_processes(marker))


async def test_a_detached_server_tells_its_exit_code_and_stops_like_any_other(
    tmp_path: Path,
) -> None:
    quick = ServerProcess(
        [sys.executable, "-c", "raise SystemExit(7)"], log=tmp_path / "a", env={}, detached=True
    )
    await until_async(lambda: quick.exit_code is not None)
    assert quick.exit_code == 7
    await quick.stop()
    server = ServerProcess(
        [sys.executable, "-c", STUBBORN], log=tmp_path / "b", env={}, grace_s=0.5, detached=True
    )
    await until_async(lambda: "child" in server.log_text() and "up" in server.log_text())
    await server.stop()
    assert server.exit_code == 143
    assert marked_processes(server.marker) == []


async def test_a_server_and_what_it_starts_stay_on_the_cores_they_are_given(
    tmp_path: Path,
) -> None:
    last = max(os.sched_getaffinity(0))
    told = "import os; print(os.sched_getaffinity(0), flush=True)"
    program = f"import subprocess, sys; {told}; subprocess.run([sys.executable, '-c', {told!r}])"
    for cores in ((last,), ()):
        server = ServerProcess(
            [sys.executable, "-c", program], log=tmp_path / f"{cores}", env={}, within=Within(cores)
        )
        await until_async(lambda each=server: each.exit_code is not None)
        await server.stop()
        expected = {last} if cores else os.sched_getaffinity(0)
        assert server.log_text().splitlines() == [str(expected)] * 2
