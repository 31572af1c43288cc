import os
import subprocess
import sys

import pytest

from orchestrator.host.ports import FIRST_PORT, LAST_PORT, RANGE, port_range


def test_two_servers_are_given_ranges_apart() -> None:
    with port_range() as one, port_range() as two:
        assert not set(one) & set(two)


def test_jobs_with_temporary_folders_of_their_own_are_given_ranges_apart(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Sites that make /tmp private to each job leave nothing there to lock on."""
    program = (
        "import sys\nfrom orchestrator.host.ports import port_range\n"
        "with port_range() as ports: print(ports.start, flush=True); sys.stdin.read()"
    )
    jobs = []
    for _ in range(2):
        own = str(tmp_path_factory.mktemp("job"))
        own_env = {"TMPDIR": own, "XDG_RUNTIME_DIR": own, "SLURM_JOB_ID": "7"}
        jobs.append(
            subprocess.Popen(
                [sys.executable, "-c", program],
                env={**os.environ, **own_env},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    first = [job.stdout.readline() for job in jobs if job.stdout]
    for job in jobs:
        job.communicate()
    assert len(set(first)) == 2
    assert all(int(each) in range(FIRST_PORT, LAST_PORT) for each in first)


def test_tasks_of_an_array_look_at_different_ranges_first(monkeypatch: pytest.MonkeyPatch) -> None:
    firsts = []
    for job in ("1000", "1001", "not a number"):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        with port_range() as ports:
            firsts.append(ports.start)
    assert len(set(firsts)) == 3
    assert firsts[1] - firsts[0] in (RANGE, RANGE - (LAST_PORT - FIRST_PORT))
