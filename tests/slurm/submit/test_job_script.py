"""Setup lines: they run before anything, in the order written; one that fails is named."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from catalog.errors import BadValue, ClusterError
from moeserve.cli.slurm_submit import SubmitRequest
from slurm.scheduler.states import class_of
from slurm.submit.job_script import JOB_SCRIPT, check_setup, script_text
from slurm.submit.options import merge_options
from slurm.submit.submission import SubmissionStore
from tests.slurm.memory_slurm import MemorySlurm
from tests.slurm.studies import SMALL, program, states, submit

SHOW = ("bash", "-c", 'echo "$X|$MOESERVE_SETUP_FAILED|$0|$1"', "a b", "$(c)")


def shown(tmp_path: Path, *setup: str) -> tuple[str, str]:
    """What a program sees after these lines, and what was said on the way."""
    path = tmp_path / "script.sh"
    path.write_text(script_text(setup))
    done = subprocess.run(["bash", path, *SHOW], capture_output=True, text=True, check=True)
    return done.stdout.strip(), done.stderr


@pytest.mark.parametrize(
    ("setup", "seen"),
    [
        (("export X=1", "ulimit -c 0"), "1|"),
        (("export X=1", "false || true", "if false; then X=2; fi"), "1|"),
        (("set -u", "export X=$#"), "0|"),
        (("export X=1", "false # no module", "export X=2"), "1|`false # no module` ended with 1"),
        (("f() { return 4; }", "f a"), "|`f a` ended with 4"),
        (("cd /no/such",), "|`cd /no/such` ended with 1"),
        (("export X=1", "exit 3"), "1|`the script` ended with 3"),
        (("set -u", "echo $NOPE"), "|`the script` ended with 1"),
        ((": 'a`touch PWNED`'; false",), "|`: 'a`touch PWNED`'; false` ended with 1"),
    ],
)
def test_lines_run_first_and_one_that_fails_is_told_to_the_program(
    setup: tuple[str, ...], seen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told, said = shown(tmp_path, *setup)
    assert told == f"{seen}|a b|$(c)"
    assert ("moeserve: SETUP_FAILED: `" in said) == (not seen.endswith("|"))
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize(
    ("last", "seen"),
    [
        ("true", "1|"),
        ("return 3", "1|`source ./env.sh` ended with 3"),
        ("exit 3", "1|`the script`"),
    ],
)
def test_what_fails_on_the_way_of_a_sourced_file_is_that_file_s_own_matter(
    last: str, seen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "env.sh").write_text(f"grep -q no-such-word /dev/null\nexport X=1\n{last}\n")
    told, _ = shown(tmp_path, "source ./env.sh", "f() { false; }; f || true")
    assert told.startswith(seen)


def test_without_lines_the_script_is_the_constant_one() -> None:
    assert script_text(()) == JOB_SCRIPT.read_text()


@pytest.mark.parametrize("setup", [(), ("true",), ("false",)])
def test_a_token_that_sbatch_was_asked_with_does_not_reach_the_program(
    setup: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JWT", "eyJ")
    path = tmp_path / "script.sh"
    path.write_text(script_text(setup))
    seen = subprocess.run(["bash", path, "env"], capture_output=True, text=True, check=True)
    assert "SLURM_JWT" not in seen.stdout


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("if true", "lines that bash can read"),
        ("export HF_TOKEN=hf_abcdefghijklmnopqrstuvwxyz0123456789", "no secrets"),
        ("a\nb", "a line of bash each"),
        ("module load a \\", "whole commands"),
        ("  ", "a line of bash each"),
    ],
)
def test_what_would_fail_in_every_task_is_refused_at_submit(line: str, why: str) -> None:
    with pytest.raises(BadValue, match=why) as refused:
        check_setup([line])
    assert "hf_abc" not in str(refused.value)


def test_lines_of_profile_and_study_follow_each_other() -> None:
    assert merge_options({"setup": ["a"]}, {"setup": ["b"]}).setup == ("a", "b")


@pytest.mark.usefixtures("hurried")
def test_a_task_whose_setup_fails_says_so_and_runs_nothing(tmp_path: Path) -> None:
    cluster = MemorySlurm()
    site = {"setup": ["module load cuda"], "follow_up": {"setup": ["true"]}}
    submit(cluster, tmp_path, SubmitRequest(SMALL, site, then=("collect",)))
    (submission,) = SubmissionStore(tmp_path).submissions()
    home = tmp_path / "slurm" / submission.token
    assert "\nmodule load cuda\n" in (home / "task.sh").read_text()
    assert "module load" not in (home / "follow_up.sh").read_text()
    assert str(home / "task.sh") in submission.arrays[0].arguments
    assert str(home / "follow_up.sh") in submission.follow_ups[0].arguments
    (home / "logs" / "1_0.log").write_text("Lmod has: no such module\nmoeserve: SETUP_FAILED: x\n")

    def failing(command: Sequence[str], variables: Mapping[str, str]) -> int:
        if "collect" in command:
            return 0
        with pytest.raises(ClusterError, match="SETUP_FAILED: `module load cuda` ended"):
            program(command, {**variables, "MOESERVE_SETUP_FAILED": "`module load cuda` ended"})
        return 3

    cluster.work(failing)
    assert {failure for _, failure in states(cluster, tmp_path)} == {"SETUP_FAILED"}
    assert "ended: Lmod has: no such module" in next(home.glob("tasks/1_0*")).read_text()


def test_a_program_that_cannot_start_either_is_classed_by_the_log() -> None:
    assert class_of("FAILED", "127:0", "moeserve: SETUP_FAILED: `x` ended with 1") == "SETUP_FAILED"
