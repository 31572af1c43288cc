"""Slurm's commands as they answer, refuse and stay silent, played by small programs."""

import os
from pathlib import Path

import pytest

from catalog.errors import ClusterError
from slurm.scheduler.command import SlurmCommands, SlurmUnreachable, left_out

CONFIG = """\
AccountingStorageType   = accounting_storage/slurmdbd
ClusterName             = a100
KillWait                = 30 sec
MaxArraySize            = 1001
MaxJobCount             = 10000
SLURM_VERSION           = 22.05.8
"""


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose programs stand in for Slurm's."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("slurm.scheduler.command.FIRST_PAUSE_S", 0.01)
    program(tmp_path, "sbatch", "echo 12")
    return tmp_path


def program(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


async def test_a_cluster_tells_its_limits(play: Path) -> None:
    program(play, "scontrol", f"cat <<'E'\n{CONFIG}E")
    config = await SlurmCommands().config()
    assert (config.cluster, config.version, config.accounting) == ("a100", "22.05.8", True)
    assert (config.max_array_size, config.kill_wait_s) == (1001, 30.0)


async def test_a_refusal_is_told_from_silence(play: Path) -> None:
    program(play, "sbatch", "echo 'sbatch: error: invalid partition specified: x' >&2; exit 1")
    with pytest.raises(ClusterError, match="invalid partition") as refused:
        await SlurmCommands().submit(["job.sh"])
    assert not isinstance(refused.value, SlurmUnreachable)
    program(play, "sbatch", "echo 'sbatch: error: Socket timed out on send/recv' >&2; exit 1")
    with pytest.raises(SlurmUnreachable):
        await SlurmCommands().submit(["job.sh"])


async def test_a_command_that_hangs_is_ended_and_counts_as_silence(play: Path) -> None:
    program(play, "sbatch", "exec sleep 60")
    with pytest.raises(SlurmUnreachable, match="did not answer"):
        await SlurmCommands(limit_s=0.2).submit(["job.sh"])


async def test_a_question_is_repeated_while_the_controller_is_silent(play: Path) -> None:
    silent = "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1"
    body = f"echo x >> {play}/asked; [ $(wc -l < {play}/asked) -gt 2 ] || {{ {silent}; }}"
    program(play, "squeue", f"{body}\necho '1_0|1|RUNNING|None|N/A|N/A|n1|moeserve-x-0'")
    (info,) = await SlurmCommands().queue(["moeserve-x-0"])
    assert (str(info.task), info.state, info.node) == ("1_0", "RUNNING", "n1")


async def test_a_cluster_without_accounts_says_none(play: Path) -> None:
    program(play, "sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    assert await SlurmCommands().accounting(["x"], "2026-01-01") is None


async def test_variables_of_slurm_s_do_not_reach_its_commands(
    play: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQUEUE_FORMAT", "%i")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    way_in = {"SLURM_CONF": "/etc/slurm.conf", "SLURM_CONF_SERVER": "ctl:6817", "SLURM_JWT": "ey"}
    for name, value in way_in.items():
        monkeypatch.setenv(name, value)
    program(play, "sbatch", f"env > {play}/seen; echo 12")
    assert await SlurmCommands().submit(["job.sh"]) == 12
    info = (play / "seen").read_text()
    assert way_in.items() <= dict(line.split("=", 1) for line in info.splitlines()).items()
    assert "SQUEUE_FORMAT" not in info
    assert "SLURM_JOB_ID" not in info


async def test_jobs_of_a_hidden_partition_are_in_the_queue_too(play: Path) -> None:
    shown = "echo '1_0|1|PENDING|None|N/A|N/A||moeserve-x-0'"
    program(play, "squeue", f'for word; do [ "$word" != -a ] || {shown}; done')
    assert len(await SlurmCommands().queue(["moeserve-x-0"])) == 1
    assert len(await SlurmCommands().queue()) == 1


async def test_a_user_s_defaults_reach_sbatch_but_no_request_that_moeserve_makes_itself(
    play: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("ARRAY_INX", "CLUSTERS", "CPUS_PER_GPU", "ERROR", "GPUS", "WAIT")
    own = [f"SBATCH_{name}" for name in asked]
    for name in (*own, "SBATCH_ACCOUNT", "SBATCH_PARTITION"):
        monkeypatch.setenv(name, "1")
    assert left_out(os.environ) == own
    program(play, "sbatch", f"env > {play}/seen; echo 12")
    await SlurmCommands().submit(["job.sh"])
    seen = {line.partition("=")[0] for line in (play / "seen").read_text().splitlines()}
    assert {name for name in seen if name.startswith("SBATCH_")} == {
        "SBATCH_ACCOUNT",
        "SBATCH_PARTITION",
    }


@pytest.mark.parametrize(
    ("parameters", "longest"),
    [("(null)", 1001), ("bf_interval=2,max_array_tasks=40", 40), ("max_array_tasks=9999", 1001)],
)
async def test_an_array_has_no_more_tasks_than_the_scheduler_takes(
    play: Path, parameters: str, longest: int
) -> None:
    program(play, "scontrol", f"cat <<'E'\n{CONFIG}SchedulerParameters = {parameters}\nE")
    assert (await SlurmCommands().config()).max_array_size == longest


async def test_a_cluster_without_job_arrays_is_told_with_the_way_out(play: Path) -> None:
    config = CONFIG.replace("= 1001", "= 0")
    program(play, "scontrol", f"cat <<'E'\n{config}E")
    with pytest.raises(ClusterError, match=r"MaxArraySize=0.*moeserve run"):
        await SlurmCommands().config()


async def test_accounts_are_asked_of_the_cluster_that_the_queue_is(
    play: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CLUSTERS", "h100")
    program(play, "sacct", f'echo "$@" > {play}/asked')
    assert await SlurmCommands().accounting(["x"], "2026-01-01") == []
    assert "--clusters=h100" in (play / "asked").read_text().split()


async def test_accounts_that_may_be_asked_for_some_weeks_alone_are_asked_for_those(
    play: Path,
) -> None:
    """MaxQueryTimeRange of slurmdbd.conf."""
    refused = "echo 'sacct: error: slurmdbd: Too wide of a date range in query' >&2; exit 1"
    body = f"""for word; do case $word in --starttime=*) since=${{word#*=}};; esac; done
[ $(($(date +%s) - $(date +%s -d $since))) -lt 5184000 ] || {{ {refused}; }}
echo 1_0'|x|FAILED|1:0|2026-01-01T00:00:00|2026-01-01T00:00:00|n1'"""
    program(play, "sacct", body)
    (info,) = await SlurmCommands().accounting(["x"], "2026-01-01T00:00:00") or []
    assert info.state == "FAILED"
    program(play, "sacct", refused)
    with pytest.raises(ClusterError, match="Too wide"):
        await SlurmCommands().accounting(["x"], "2026-01-01T00:00:00")


DBD_AWAY = "sacct: error: Problem talking to the database: Connection refused"


@pytest.mark.parametrize("words", [DBD_AWAY, "", "sacct: error: slurm_persist_conn_open: failed"])
async def test_accounts_that_do_not_answer_are_not_accounts_that_are_off(
    play: Path, words: str
) -> None:
    program(play, "sacct", f"echo '{words}' >&2; exit 1")
    with pytest.raises(ClusterError, match="sacct"):
        await SlurmCommands().accounting(["x"], "2026-01-01")


async def test_an_error_that_ends_with_status_0_is_no_empty_queue(play: Path) -> None:
    error = "echo 'squeue: error: slurm_load_jobs error: Socket timed out' >&2"
    program(play, "squeue", error)
    with pytest.raises(SlurmUnreachable, match="Socket timed out"):
        await SlurmCommands().queue(["x"])
    program(play, "squeue", f"{error}; echo '1_0|1|RUNNING|None|N/A|N/A|n1|x'")
    assert len(await SlurmCommands().queue(["x"])) == 1


async def test_a_program_that_is_not_there_is_no_empty_answer(
    play: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(play))
    with pytest.raises(ClusterError, match="squeue cannot be started: No such file"):
        await SlurmCommands().queue(["x"])
    with pytest.raises(ClusterError, match="sacct cannot be started: No such file"):
        await SlurmCommands().accounting(["x"], "2026-01-01")


async def test_an_answer_that_cannot_be_read_is_none(play: Path) -> None:
    program(play, "squeue", "echo '7_[1,3,...]|7|PENDING|None|N/A|N/A||moeserve-x-0'")
    with pytest.raises(SlurmUnreachable, match="cannot be read"):
        await SlurmCommands().queue(["moeserve-x-0"])


@pytest.mark.parametrize(
    ("line", "words"),
    [("MaxArraySize", "nothing of MaxArraySize"), ("KillWait", "nothing of KillWait"),
     ("AccountingStorageType", "nothing of AccountingStorageType")],
)  # fmt: skip
async def test_a_limit_that_is_not_told_is_not_made_up(play: Path, line: str, words: str) -> None:
    kept = "".join(each for each in CONFIG.splitlines(keepends=True) if line not in each)
    program(play, "scontrol", f"cat <<'E'\n{kept}E")
    with pytest.raises(SlurmUnreachable, match=words):
        await SlurmCommands().config()
    program(play, "scontrol", f"cat <<'E'\n{kept}{line} = n/s\nE")
    if line != "AccountingStorageType":
        with pytest.raises(SlurmUnreachable, match="not a number"):
            await SlurmCommands().config()


@pytest.mark.parametrize(
    "body", ["exit 1", "kill -9 $$", "echo 'Message receive failure' >&2; exit 1"]
)
async def test_an_sbatch_that_ends_without_a_refusal_may_have_submitted(
    play: Path, body: str
) -> None:
    program(play, "sbatch", body)
    with pytest.raises(SlurmUnreachable):
        await SlurmCommands().submit(["job.sh"])
