"""Studies that go on by themselves: rounds of follow-ups, limits that cut, what waits for what."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from catalog.errors import BadValue
from moeserve.cli.slurm_submit import SubmitRequest, retry_missing, submit_study
from orchestrator.results.store import Store
from slurm.submit.container import Container
from slurm.submit.estimate import time_limit
from slurm.submit.options import FollowUpOptions, SubmitOptions
from slurm.submit.submission import FollowUp, SubmissionStore, TaskSpec
from slurm.watch.collect import collect
from slurm.watch.whole import unfinished
from tests.slurm.memory_slurm import MemorySlurm
from tests.slurm.studies import SMALL, look, program, small, submit

pytestmark = pytest.mark.usefixtures("hurried")


class Site:
    """A Slurm whose tasks are lost as often as is asked, and whose follow-ups collect."""

    def __init__(self, root: Path, *, losses: int) -> None:
        self.slurm, self.root, self.losses = MemorySlurm(), root, losses
        self.ran: list[str] = []

    def do(self, command: Sequence[str], variables: Mapping[str, str]) -> int:
        if "slurm.job.task" in command:
            if self.losses:
                self.losses -= 1
                return 1
            return program(command, variables)
        words = list(command[command.index("moeserve") + 1 :])
        self.ran.append(" ".join(word for word in words if not word.startswith("/")))
        if "collect" in words:
            rounds = int(words[-1]) if "--rounds" in words else None
            found = look(self.slurm, self.root)
            collected = collect(self.root, found)
            if rounds and collected.retry:
                again = retry_missing(
                    self.root, collected, slurm=self.slurm, rounds=rounds, active=found.active
                )
                asyncio.run(again)
        return 0


def test_what_is_lost_is_submitted_again_by_itself_and_the_report_comes_last(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path, losses=4)
    submit(site.slurm, tmp_path, SubmitRequest(SMALL, then=("collect", "report"), rounds=3))
    site.slurm.work(site.do)
    assert len(Store(tmp_path).finished()) == 6
    assert site.ran == [
        "slurm collect --retry --rounds 3", "slurm collect --retry --rounds 2",
        "slurm collect --retry --rounds 1", "report -o",
    ]  # fmt: skip


def test_rounds_end(tmp_path: Path) -> None:
    site = Site(tmp_path, losses=1000)
    submit(site.slurm, tmp_path, SubmitRequest(SMALL, rounds=2))
    site.slurm.work(site.do)
    assert site.ran == [
        "slurm collect --retry --rounds 2", "slurm collect --retry --rounds 1", "slurm collect",
    ]  # fmt: skip
    assert len(SubmissionStore(tmp_path).submissions()) == 3


def test_what_there_was_no_room_for_is_submitted_in_the_next_round(tmp_path: Path) -> None:
    site = Site(tmp_path, losses=0)
    submit(site.slurm, tmp_path, SubmitRequest(SMALL, {"max_submit": 2}, rounds=3))
    site.slurm.work(site.do)
    assert len(Store(tmp_path).finished()) == 6


def test_follow_ups_wait_for_what_an_earlier_submission_has_in_the_queue(tmp_path: Path) -> None:
    cluster = MemorySlurm()
    request = SubmitRequest(SMALL, {"max_submit": 2})
    submit(cluster, tmp_path, request)
    more = SubmitRequest(SMALL, {"max_submit": 9}, then=("collect",))
    submit(cluster, tmp_path, more)
    follow_up = next(job for job in cluster._jobs.values() if job.name.endswith("-collect"))
    assert follow_up.after == (1, 2)
    rows = submit(cluster, tmp_path, more)
    assert [str(row["name"]).rpartition("-")[2] for row in rows] == ["collect"]
    waiting = [job.name for job in cluster._jobs.values() if job.name.endswith("-collect")
               and job.tasks[0].state == "PENDING"]  # fmt: skip
    assert waiting == [rows[0]["name"]], "one follow-up, not two"


def test_a_limit_that_is_too_short_cuts_a_task_into_rounds() -> None:
    task = TaskSpec(group_id="g", expected_s=100 + 10 * 60.0, run_s=60.0, start_s=100.0)
    assert time_limit("6", [task], 0, rounds=3, lead_s=20) == "6"
    with pytest.raises(BadValue, match="at least"):
        time_limit("6", [task], 0)
    with pytest.raises(BadValue, match="--rounds 3 for g"):
        time_limit("6", [task], 0, rounds=2, lead_s=20)
    with pytest.raises(BadValue, match="the start and one run of g"):
        time_limit("2", [task], 0, rounds=99, lead_s=20)
    assert time_limit("12", [task], 0, rounds=1) == "12", "it fits anyway"


def follow_up_of(tmp_path: Path, **options: object) -> FollowUp:
    request = SubmitRequest(small(), options, then=("collect",))
    asyncio.run(submit_study(request, tmp_path, dry_run=False, slurm=MemorySlurm()))
    return SubmissionStore(tmp_path).submissions()[-1].follow_ups[0]


def test_a_follow_up_is_outside_of_the_container_and_asks_for_no_server(tmp_path: Path) -> None:
    sbatch = ["--exclusive", "--gres=nvme:1", "--mem-per-gpu=9G", "--licenses=x", "--nodelist=n1"]
    box = {"kind": "pyxis", "image": "i.sqsh"}
    words = follow_up_of(
        tmp_path, container=box, sbatch=sbatch, memory="200G", partition="gpu"
    ).arguments
    assert "srun" not in words
    assert {"--partition=gpu", "--mem=4G", "--time=1:00:00", "--licenses=x"} <= set(words)
    assert not {"--exclusive", "--gres=nvme:1", "--mem-per-gpu=9G", "--nodelist=n1"} & set(words)


def test_a_follow_up_has_a_place_of_its_own(tmp_path: Path) -> None:
    own = {"partition": "cpu", "qos": "short", "memory": "16G", "time": 30, "sbatch": ["--nice"]}
    words = follow_up_of(
        tmp_path, partition="gpu", sbatch=["--licenses=x"], follow_up=own
    ).arguments
    assert {"--partition=cpu", "--qos=short", "--mem=16G", "--time=30", "--nice"} <= set(words)
    assert "--licenses=x" not in words
    with pytest.raises(BadValue, match="memory"):
        FollowUpOptions(memory="much")


def test_a_follow_up_may_have_an_account_and_a_way_of_counting_memory(tmp_path: Path) -> None:
    own = {"account": "abc@cpu", "sbatch": ["--mem-per-cpu=4G"]}
    words = follow_up_of(tmp_path, account="abc@h100", follow_up=own).arguments
    asked = [word for word in words if word.startswith(("--mem", "--account"))]
    assert asked == ["--account=abc@cpu", "--mem-per-cpu=4G"]


@pytest.mark.parametrize(
    ("study", "own", "asked"),
    [
        (None, {}, ["--mem=4G"]),
        ("200G", {"memory": 0}, ["--mem=0"]),
        ("default", {}, []),
        ("default", {"memory": "8G"}, ["--mem=8G"]),
        ("200G", {"memory": "default"}, []),
    ],
)
def test_where_no_job_may_ask_for_memory_none_does(
    tmp_path: Path, study: str | None, own: dict[str, object], asked: list[str]
) -> None:
    options = {"follow_up": own} | ({"memory": study} if study else {})
    words = follow_up_of(tmp_path, **options).arguments
    assert [word for word in words if word.startswith("--mem")] == asked
    (array,) = SubmissionStore(tmp_path).submissions()[-1].arrays
    of_tasks = [word for word in array.arguments if word.startswith("--mem")]
    assert of_tasks == {None: ["--mem=1G"], "200G": ["--mem=200G"], "default": []}[study]


def test_a_container_on_several_nodes_is_refused_before_anything_is_submitted(
    tmp_path: Path,
) -> None:
    spread = small(engine="vllm", strategies=("dp8+ep",), hardware="A100-80GB")
    site = {
        "gpus": {"A100-80GB": {"per_node": 4}},
        "container": {"kind": "apptainer", "image": "docker://i", "python": "py"},
    }
    cluster = MemorySlurm()
    with pytest.raises(BadValue, match="on 2 nodes Ray is started through srun"):
        submit(cluster, tmp_path, SubmitRequest(spread, site))
    assert asyncio.run(cluster.queue()) == []
    assert SubmitOptions(container=Container(kind="pyxis", image="i")).container is not None


def test_what_is_missing_of_a_study_is_said_without_slurm(tmp_path: Path) -> None:
    assert unfinished(tmp_path) == ""
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    assert unfinished(tmp_path) == (
        "Not the whole study: 0 of 6 planned runs are published, 6 are missing."
    )
    cluster.work(program)
    assert unfinished(tmp_path) == ""
    next((tmp_path / "runs").iterdir()).unlink()
    assert "5 of 6 planned runs" in unfinished(tmp_path)


def test_what_is_submitted_again_goes_where_the_user_s_variables_sent_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A follow-up runs on a node, in an environment without them."""
    monkeypatch.setenv("SBATCH_ACCOUNT", "grant7")
    monkeypatch.setenv("SBATCH_PARTITION", "gpu")
    cluster = MemorySlurm()
    submit(cluster, tmp_path, SubmitRequest(SMALL, {"partition": "short"}))
    monkeypatch.delenv("SBATCH_ACCOUNT")
    cluster.set(1, 0, "NODE_FAIL")
    collected = collect(tmp_path, look(cluster, tmp_path))
    asyncio.run(retry_missing(tmp_path, collected, slurm=cluster))
    first, again = SubmissionStore(tmp_path).submissions()
    for submission in (first, again):
        assert {"--account=grant7", "--partition=short"} <= set(submission.arrays[0].arguments)
