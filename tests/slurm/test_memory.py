"""Whole studies on the Slurm in memory: submitted, run in this process, looked at, collected."""

import asyncio
import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from catalog.errors import BadFile, BadValue, ClusterError, Infeasible, ServerStartFailed
from moeserve.cli.slurm_submit import Wish, retry_missing, submit_study
from orchestrator.devices import Device
from orchestrator.engines.base import Site, Watch
from orchestrator.engines.simulated import SimulatedEngine
from orchestrator.experiment import Experiment
from orchestrator.store import Store, read_manifests
from slurm import task
from slurm.cancel import cancel
from slurm.collect import collect
from slurm.command import Slurm
from slurm.deadline import Deadline
from slurm.gpu_check import Checked, mismatch
from slurm.memory import DEFAULT_LIMITS, MemorySlurm
from slurm.options import Options, merged
from slurm.remote import remote_plan
from slurm.scratch import node_scratch
from slurm.status import Status, status
from slurm.submission import Desk
from slurm.submit import Asked, draft, submit_once

SMALL = Experiment(
    engine="simulated", strategies=("tp", "ep", "tp+ep"), workloads=("16:8:6",), concurrency="1,4"
)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between questions are not what these tests are about."""
    monkeypatch.setattr("slurm.submit.FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr("slurm.cancel.POLL_S", 0.0)


def submit(cluster: Slurm, root: Path, wish: Wish | None = None) -> list[dict[str, object]]:
    rows = asyncio.run(submit_study(wish or Wish(SMALL), root, dry_run=False, slurm=cluster))
    return [dict(row) for row in rows]


def look(cluster: Slurm, root: Path) -> Status:
    return asyncio.run(status(cluster, Desk(root)))


def states(cluster: Slurm, root: Path) -> list[tuple[str, str]]:
    return [(each.state, each.failure) for each in look(cluster, root).tasks]


def program(command: Sequence[str], variables: Mapping[str, str]) -> int:
    """Do in this process what the job script does."""
    assert list(command[1:4]) == ["-P", "-m", "slurm.task"]
    return task.main(list(command[4:]), variables)


def test_a_study_submitted_run_and_collected_holds_every_run_once(tmp_path: Path) -> None:
    cluster = MemorySlurm()
    (row,) = submit(cluster, tmp_path)
    assert row["tasks"] == 3
    assert states(cluster, tmp_path) == [("pending", "")] * 3
    cluster.work(program)
    found = look(cluster, tmp_path)
    assert [each.state for each in found.tasks] == ["done"] * 3
    assert {each.node for each in found.tasks} == {"memory1"}
    assert len(Store(tmp_path).finished()) == 6
    joined = collect(tmp_path, found)
    assert (joined.published, joined.missing, joined.recorded, joined.retry) == (6, 0, 0, ())
    attempts = {m.details["slurm"]["attempt"].split(".")[0] for m in read_manifests(tmp_path)}
    assert attempts == {"1_0", "1_1", "1_2"}


def test_the_same_command_again_submits_nothing_that_is_published_or_queued(
    tmp_path: Path,
) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    assert submit(cluster, tmp_path) == []
    cluster.work(program)
    assert submit(cluster, tmp_path) == []
    next((tmp_path / "runs").iterdir()).unlink()
    (row,) = submit(cluster, tmp_path)
    assert row["tasks"] == 1


def test_an_answer_that_is_lost_is_looked_for_and_the_job_not_repeated(tmp_path: Path) -> None:
    cluster = MemorySlurm(forgetful=1)
    (row,) = submit(cluster, tmp_path)
    assert row["job"] == 1
    assert len(asyncio.run(cluster.queue())) == 3


async def test_a_job_that_was_never_taken_is_submitted_again(tmp_path: Path) -> None:
    class FirstLost(MemorySlurm):
        """Loses the first submission on its way."""

        async def submit(self, arguments: Sequence[str]) -> int:
            if not self.silent and not self._jobs and not self.most_at_once:
                self.most_at_once = 1
                self.silent = 1
            return await super().submit(arguments)

    cluster = FirstLost()
    words = ["--job-name=moeserve-x-0", "--array=0-1", "job.sh", "python"]
    assert await submit_once(cluster, "moeserve-x-0", words, since="2026-01-01T00:00:00") == 1


def test_while_slurm_stays_silent_nothing_is_repeated_and_states_are_unknown(
    tmp_path: Path,
) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    cluster.silent = 1
    found = look(cluster, tmp_path)
    assert [each.state for each in found.tasks] == ["unknown"] * 3
    assert collect(tmp_path, found).retry == ()
    assert [state for state, _ in states(cluster, tmp_path)] == ["pending"] * 3

    class Dead(MemorySlurm):
        """Takes the job, and then is silent for good."""

        async def submit(self, arguments: Sequence[str]) -> int:
            await super().submit(arguments)
            self.silent = 100
            return await super().submit(arguments)

    with pytest.raises(ClusterError, match="does not say whether"):
        submit(Dead(), tmp_path / "dead")


def test_a_crash_between_sbatch_and_its_record_is_mended_by_the_job_s_name(
    tmp_path: Path,
) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    next(tmp_path.glob("slurm/*/jobs/*.json")).unlink()
    assert [each.job for each in look(cluster, tmp_path).tasks] == [1, 1, 1]
    assert submit(cluster, tmp_path) == []


def test_a_lost_task_is_recorded_once_and_submitted_again_elsewhere(tmp_path: Path) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path)

    def loses_power(command: Sequence[str], variables: Mapping[str, str]) -> int:
        if variables["SLURM_ARRAY_TASK_ID"] != "1":
            return program(command, variables)
        journal = next(tmp_path.glob("slurm/*/tasks"))
        run_id = look(cluster, tmp_path).tasks[1].group.runs[0].run_id
        lines = [{"at": "t", "event": "started", "node": "n7"},
                 {"at": "t", "event": "run_started", "run_id": run_id}]  # fmt: skip
        text = "\n".join(map(json.dumps, lines)) + '\n{"at": "cut o'
        (journal / "1_1.r0.dead.jsonl").write_text(text)
        cluster.set(1, 1, "NODE_FAIL")
        return 0

    cluster.work(loses_power)
    assert states(cluster, tmp_path)[1] == ("failed", "NODE_FAIL")
    joined = collect(tmp_path, look(cluster, tmp_path))
    assert (joined.recorded, joined.missing, joined.bad_nodes) == (1, 2, ("n7",))
    assert collect(tmp_path, look(cluster, tmp_path)).recorded == 0
    failed = [m.record for m in read_manifests(tmp_path) if m.record.verdict == "failed"]
    assert [record.verdict_reasons for record in failed] == ["NODE_FAIL"]
    asyncio.run(retry_missing(tmp_path, joined, slurm=cluster))
    last = Desk(tmp_path).submissions()[-1]
    assert "--exclude=n7" in last.arrays[0].arguments
    assert len(last.arrays[0].tasks) == 1
    cluster.work(program)
    assert collect(tmp_path, look(cluster, tmp_path)).missing == 0


def test_two_incarnations_of_one_task_leave_one_result_each_with_its_own_record(
    tmp_path: Path,
) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    cluster.work(program)
    before = {path.name: path.read_bytes() for path in (tmp_path / "runs").iterdir()}
    cluster.requeue(1, 0)
    cluster.work(program)
    assert {path.name: path.read_bytes() for path in (tmp_path / "runs").iterdir()} == before
    assert look(cluster, tmp_path).tasks[0].attempts == 2


def test_nothing_is_published_after_term_even_while_a_computation_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    from orchestrator.engines import simulated

    serve = simulated.serve

    def serve_and_be_told(*arguments: object) -> object:
        signal.raise_signal(signal.SIGTERM)
        return serve(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(simulated, "serve", serve_and_be_told)
    codes: list[int] = []
    cluster.work(lambda c, v: codes.append(program(c, v)) or codes[-1])
    assert codes == [143, 143, 143]
    assert Store(tmp_path).finished() == set()
    assert {failure for _, failure in states(cluster, tmp_path)} == {"TERMINATED"}


def test_usr2_lets_the_run_in_hand_finish_and_starts_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    from orchestrator.engines import simulated

    serve = simulated.serve

    def serve_and_be_told(*arguments: object) -> object:
        signal.raise_signal(signal.SIGUSR2)
        return serve(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(simulated, "serve", serve_and_be_told)
    codes: list[int] = []
    cluster.work(lambda c, v: codes.append(program(c, v)) or codes[-1])
    assert codes == [130, 130, 130]
    assert len(Store(tmp_path).finished()) == 3
    assert {failure for _, failure in states(cluster, tmp_path)} == {"TIME_LIMIT"}
    monkeypatch.setattr(simulated, "serve", serve)
    asyncio.run(retry_missing(tmp_path, collect(tmp_path, look(cluster, tmp_path)), slurm=cluster))
    cluster.work(program)
    assert len(Store(tmp_path).finished()) == 6


def test_cancel_ends_what_is_ours_by_id(tmp_path: Path) -> None:
    cluster = MemorySlurm()
    foreign = asyncio.run(cluster.submit(["--job-name=other", "job.sh"]))
    submit(cluster, tmp_path, Wish(SMALL, then=("collect", "report")))
    jobs, left = asyncio.run(cancel(cluster, Desk(tmp_path)))
    assert (len(jobs), left) == (3, [])
    assert [each.task.job for each in asyncio.run(cluster.queue())] == [foreign]
    assert {state for state, _ in states(cluster, tmp_path)} == {"cancelled"}
    assert asyncio.run(cancel(cluster, Desk(tmp_path))) == ([], [])


def test_2500_tasks_are_three_arrays_one_after_the_other_under_a_throttle(tmp_path: Path) -> None:
    many = small(num_runs=833, strategies=("tp", "ep", "tp+ep"))
    cluster = MemorySlurm()
    rows = submit(cluster, tmp_path, Wish(many, {"max_parallel": 3}))
    assert [row["tasks"] for row in rows] == [1001, 1001, 497]
    ran: list[str] = []
    cluster.work(lambda _, v: ran.append(v["SLURM_ARRAY_TASK_ID"]) or 0)
    assert len(ran) == 2499
    assert cluster.most_at_once == 3


def test_what_does_not_fit_the_queue_is_held_back_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = MemorySlurm()
    (row,) = submit(cluster, tmp_path, Wish(SMALL, {"max_submit": 2}))
    assert row["tasks"] == 2
    assert "1 tasks do not fit" in capsys.readouterr().err
    cluster.work(program)
    (row,) = submit(cluster, tmp_path, Wish(SMALL, {"max_submit": 2}))
    assert row["tasks"] == 1


def test_different_needs_become_different_arrays(tmp_path: Path) -> None:
    site = {
        "gpus": {
            "A100-80GB": {"type": "a100", "constraint": "gpu80g", "per_node": 4},
            "A100-40GB": {"type": "a100", "constraint": "gpu40g", "per_node": 4},
        },
        "hardware": "A100-80GB",
    }
    mixed = small(engine="vllm", hardware={"default": "A100-80GB", "tp+ep": "A100-40GB"})
    submit(MemorySlurm(), tmp_path, Wish(mixed, site))
    arrays = Desk(tmp_path).submissions()[0].arrays
    asked = sorted(
        tuple(w for w in array.arguments if w.startswith(("--gres", "--constraint")))
        for array in arrays
    )
    assert asked == [
        ("--constraint=gpu40g", "--gres=gpu:a100:4"),
        ("--constraint=gpu80g", "--gres=gpu:a100:2"),
    ]
    assert all(task.expected_s and task.expected_s > 100 for a in arrays for task in a.tasks)


def test_a_task_makes_the_plan_again_that_was_submitted(tmp_path: Path) -> None:
    site = {"gpus": {"H100": {"per_node": 8}}}
    real = small(engine="auto")
    plan, engine = asyncio.run(remote_plan(real, merged(site)))
    assert engine == "vllm"
    submit(MemorySlurm(), tmp_path, Wish(real, site))
    again = Desk(tmp_path).submissions()[0].plan()
    assert [run.run_id for run in again.runs] == [run.run_id for run in plan.runs]
    assert {group.setup.hardware for group in again.groups} == {"H100"}


def test_a_layout_larger_than_a_node_is_refused_before_anything_is_submitted() -> None:
    site = merged({"gpus": {"H100": {"per_node": 4}}})
    with pytest.raises(Infeasible, match="needs 8 GPUs on one node, a node has 4"):
        asyncio.run(remote_plan(small(engine="vllm", strategies=("tp8",)), site))


def test_a_limit_that_a_task_cannot_fit_is_refused(tmp_path: Path) -> None:
    site = {"gpus": {"H100": {"per_node": 8}}, "time": "1"}
    with pytest.raises(BadValue, match="--time: got '1'"):
        submit(MemorySlurm(), tmp_path, Wish(small(engine="vllm"), site))


def test_earlier_runs_correct_the_estimate(tmp_path: Path) -> None:
    from slurm.estimate import Estimator

    site = merged({"gpus": {"H100": {"per_node": 8}}})
    plan, _ = asyncio.run(remote_plan(small(engine="vllm"), site))
    group = plan.groups[0]
    model = Estimator(plan, {}).task(group, group.runs)
    known = {run.cell.cell_id: 1000.0 for run in group.runs}
    measured = Estimator(plan, known).task(group, group.runs)
    assert measured.run_s == 1000.0
    assert measured.expected_s is not None
    assert model.expected_s is not None
    assert measured.expected_s - model.expected_s > 1900


def test_no_accounts_are_no_obstacle(tmp_path: Path) -> None:
    cluster = MemorySlurm(given=replace(DEFAULT_LIMITS, accounting=False))
    submit(cluster, tmp_path)
    cluster.work(program)
    assert [state for state, _ in states(cluster, tmp_path)] == ["done"] * 3


def test_nothing_secret_travels_with_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = "hf_canary0123456789"
    for name in ("HF_TOKEN", "MOESERVE_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, canary)
    cluster = MemorySlurm()
    submit(cluster, tmp_path, Wish(SMALL, then=("collect", "report")))
    cluster.work(lambda c, v: program(c, v) if "slurm.task" in c else 0)
    for submission in Desk(tmp_path).submissions():
        for array in submission.arrays:
            exported = next(w for w in array.arguments if w.startswith("--export="))
            assert not any(secret in exported for secret in ("TOKEN", "KEY", "ALL"))
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or canary.encode() not in path.read_bytes()


def test_a_draft_asks_for_no_gpus_that_nobody_uses(tmp_path: Path) -> None:
    plan, engine = asyncio.run(remote_plan(SMALL, Options()))
    for rehearse, gres in ((False, set()), (True, {"--gres=gpu:2", "--gres=gpu:4"})):
        options = Options(rehearse=rehearse)
        made = draft(Asked(plan, engine, options, tmp_path), plan.groups, DEFAULT_LIMITS, queued=0)
        words = {w for array in made.submission.arrays for w in array.arguments}
        assert {word for word in words if word.startswith("--gres")} == gres


def small(**changes: object) -> Experiment:
    return msgspec.structs.replace(SMALL, **changes)


def test_the_watch_ends_when_all_tasks_have_and_says_what_it_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from moeserve.cli import slurm_watch

    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    capsys.readouterr()

    async def work(_: float) -> None:
        for index in range(3):
            cluster.set(1, index, "NODE_FAIL")

    monkeypatch.setattr("slurm.command.asyncio.sleep", work)
    found = asyncio.run(slurm_watch.watch_tasks(tmp_path, slurm=cluster))
    assert {task.failure for task in found.tasks} == {"NODE_FAIL"}
    assert capsys.readouterr().err == "3 pending; 6 runs missing\n"


def test_a_directory_without_a_submission_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="nothing was submitted"):
        Desk(tmp_path).check()


def test_the_cluster_s_word_on_the_end_is_believed_if_it_is_nearer() -> None:
    deadline = Deadline(ends_in_s=1000.0, margin_s=10.0)
    assert deadline.fits(800.0)
    assert not deadline.fits(900.0)
    deadline.near(100.0)
    assert deadline.fits(70.0)
    assert not deadline.fits(80.0)
    deadline.near(5000.0)
    assert not deadline.fits(80.0)
    assert Deadline(ends_in_s=None, margin_s=10.0).fits(1e9)


def test_gpus_that_are_not_the_ones_asked_for_are_named() -> None:
    site = merged({"gpus": {"H100": {"per_node": 8}}})
    plan, _ = asyncio.run(remote_plan(small(engine="vllm", strategies=("tp",)), site))
    (group,) = plan.groups
    h100 = [Device(i, f"u{i}", "NVIDIA H100 80GB HBM3", 85_520_809_984) for i in range(2)]
    a100 = [Device(i, f"u{i}", "NVIDIA A100-SXM4-40GB", 42_505_273_344) for i in range(2)]
    assert mismatch(group, h100) == ""
    assert "needs 2 GPUs, NVML shows 1" in mismatch(group, h100[:1])
    assert "asks for H100, here are A100-40GB" in mismatch(group, a100)


async def test_a_server_is_not_started_on_the_wrong_gpus(tmp_path: Path) -> None:
    plan, _ = await remote_plan(
        small(engine="vllm", strategies=("tp",)), merged({"hardware": "H100"})
    )
    (group,) = plan.groups
    site = Site(plan.experiment, plan.models[group.setup.model], tmp_path)
    with pytest.raises(ServerStartFailed, match="WRONG_GPU"):
        async with Checked(SimulatedEngine(), ()).open(group, site, Watch()):
            pytest.fail("started")


def test_caches_are_on_the_node_and_gone_after_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    monkeypatch.setenv("VLLM_CACHE_ROOT", "/mine")
    left = tmp_path / "moeserve-task-killed"
    left.mkdir()
    (left / ".lock").touch()
    with node_scratch(str(tmp_path), needed=True):
        assert Path(os.environ["TRITON_CACHE_DIR"]).is_relative_to(tmp_path)
        assert os.environ["VLLM_CACHE_ROOT"] == "/mine"
        with node_scratch(str(tmp_path), needed=True):
            assert len(list(tmp_path.iterdir())) == 2
    assert list(tmp_path.iterdir()) == []
    assert "TRITON_CACHE_DIR" not in os.environ


def test_the_live_view_shows_what_failed_before_what_waits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    from moeserve.cli.slurm_watch import tasks_table

    cluster = MemorySlurm()
    submit(cluster, tmp_path)
    cluster.set(1, 2, "TIMEOUT")
    capsys.readouterr()
    Console(width=120, force_terminal=False).print(tasks_table(look(cluster, tmp_path), 20))
    shown = capsys.readouterr().out
    assert "2 pending, 1 failed; 6 runs missing" in shown
    assert shown.index("TIME_LIMIT") < shown.index("pending", shown.index("node"))
