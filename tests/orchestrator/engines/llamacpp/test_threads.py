"""A llama.cpp server whose threads share their cores with others says so on each of its runs."""

from pathlib import Path

import pytest

from orchestrator.engines.llamacpp.threads import cores_taken, threads_told
from orchestrator.run.validity import NOTES


@pytest.mark.parametrize(
    "line",
    [
        "0.00.032.890 I cmn          init: llama threadpool init, n_threads = 12",
        "system_info: n_threads = 12 (n_threads_batch = 24) / 24 | CPU : SSE3 = 1",
    ],
)
def test_threads_are_read_from_the_log(tmp_path: Path, line: str) -> None:
    log = tmp_path / "server.log"
    log.write_text(f"build: 1\n{line}\nn_threads = 99\n")
    assert threads_told(log) == 12
    log.write_text("build: 1\n")
    assert threads_told(log) is None


@pytest.mark.parametrize("free", [7.6, 8.0])
def test_on_a_quiet_host_nothing_is_said(free: float) -> None:
    assert cores_taken(8, free) == ()
    assert cores_taken(None, 0.0) == ()


@pytest.mark.parametrize(("free", "fitting"), [(0.1, 1), (1.2, 1), (2.6, 3), (7.4, 7)])
def test_of_too_many_threads_the_note_says_how_many_fit(free: float, fitting: int) -> None:
    (note,) = cores_taken(8, free)
    code, _, told = note.partition(":")
    assert code in NOTES
    assert f"8 threads, and {free:.1f} cores" in told
    assert told.endswith(f"--threads={fitting}")
    assert cores_taken(fitting, max(free, 0.5)) == ()
