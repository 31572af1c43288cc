"""What sbatch is told, word for word."""

import asyncio
from pathlib import Path

import pytest

from orchestrator.experiment.ray_options import RayOptions
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.plan import make_plan
from slurm.submit.arrays import (
    ArrayRequest,
    array_arguments,
    array_request,
    bookkeeping,
    by_request,
    program,
    resource_arguments,
)
from slurm.submit.container import Container
from slurm.submit.job_script import JOB_SCRIPT
from slurm.submit.options import GpuOptions, SubmitOptions
from slurm.submit.plan_elsewhere import remote_plan
from tests.slurm.studies import small

ROOT = Path("/data/out")
EXPORTED = "HOME,PATH,LANG,USER,LD_LIBRARY_PATH,HF_HOME,HF_HUB_OFFLINE,MOESERVE_DEBUG"


@pytest.mark.parametrize(
    ("request_", "options", "words"),
    [
        (ArrayRequest(0, ""), {}, ["--nodes=1", "--ntasks=1"]),
        (ArrayRequest(1, "H100"), {}, ["--nodes=1", "--ntasks=1", "--gres=gpu:1"]),
        (
            ArrayRequest(8, "H100", 2),
            {},
            ["--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--gres=gpu:8"],
        ),
        (
            ArrayRequest(4, "H100"),
            {"gpu_type": "any", "partition": "p", "constraint": "c"},
            ["--nodes=1", "--ntasks=1", "--partition=p", "--constraint=c", "--gres=gpu:any:4"],
        ),
        (
            ArrayRequest(4, "H100"),
            {
                "gpus": {"H100": GpuOptions(type="h100", partition="q", constraint="d")},
                "gpu_type": "any", "partition": "p", "constraint": "c",
            },
            ["--nodes=1", "--ntasks=1", "--partition=q", "--constraint=d", "--gres=gpu:h100:4"],
        ),
        (
            ArrayRequest(0, ""),
            {"account": "a", "qos": "q", "reservation": "r", "cpus": 8, "memory": "64G"},
            ["--nodes=1", "--ntasks=1", "--account=a", "--qos=q", "--reservation=r",
             "--cpus-per-task=8", "--mem=64G"],
        ),
    ],
)  # fmt: skip
def test_what_a_task_needs(
    request_: ArrayRequest, options: dict[str, object], words: list[str]
) -> None:
    assert resource_arguments(request_, SubmitOptions(**options)) == words  # type: ignore[arg-type]


def test_what_moeserve_relies_on_whatever_the_job() -> None:
    assert bookkeeping("n", "t", ROOT, SubmitOptions()) == [
        "--job-name=n", "--comment=moeserve:t", "--chdir=/data/out", "--open-mode=append",
        f"--export={EXPORTED}", "--kill-on-invalid-dep=yes", "--no-requeue",
    ]  # fmt: skip
    more = bookkeeping("n", "t", ROOT, SubmitOptions(requeue=True, export=("PATH", "MY_SITE")))
    assert f"--export={EXPORTED},MY_SITE" in more, "each name once"
    assert more[-1] == "--requeue"


@pytest.mark.parametrize(("count", "indices"), [(1, "0"), (2, "0-1"), (1000, "0-999")])
def test_an_array_is_a_range_however_long_it_is(count: int, indices: str) -> None:
    words = array_arguments(
        count=count, name="n", token="t", root=ROOT, options=SubmitOptions(), lead_s=180
    )
    assert words[7:] == [
        f"--array={indices}", "--output=slurm/t/logs/%A_%a.log", "--signal=B:USR2@180",
    ]  # fmt: skip


def test_a_throttle_is_part_of_the_array_and_no_lead_no_signal() -> None:
    options = SubmitOptions(max_parallel=3)
    words = array_arguments(count=9, name="n", token="t", root=ROOT, options=options, lead_s=0)
    assert words[7:] == ["--array=0-8%3", "--output=slurm/t/logs/%A_%a.log"]


def test_the_job_script_runs_the_program_on_the_node() -> None:
    script, arguments = str(JOB_SCRIPT), ["-m", "x"]
    plain = program("/usr/bin/python3", ROOT, SubmitOptions(), arguments)
    assert plain == [script, "/usr/bin/python3", "-m", "x"]
    own = program("/usr/bin/python3", ROOT, SubmitOptions(python="/opt/py"), arguments)
    assert own == [script, "/opt/py", "-m", "x"]
    box = Container(kind="pyxis", image="i.sqsh")
    stock = program("/usr/bin/python3", ROOT, SubmitOptions(container=box), arguments)
    assert stock == plain, "the server alone is started in a stock image"


def groups(**changes: object) -> tuple[ServerGroup, ...]:
    experiment = small(engine="vllm", num_runs=2, **{"hardware": "A100-80GB", **changes})
    return asyncio.run(remote_plan(experiment, SubmitOptions()))[0].groups


def test_only_servers_that_need_gpus_ask_for_them() -> None:
    group = groups(strategies=("tp+ep",))[0]
    assert array_request(group, SubmitOptions(), RayOptions()) == ArrayRequest(4, "A100-80GB")
    simulated = make_plan(small(), "simulated").groups[0]
    assert array_request(simulated, SubmitOptions(), RayOptions()) == ArrayRequest(0, "")
    rehearsed = array_request(simulated, SubmitOptions(rehearse=True), RayOptions())
    assert rehearsed.gpus == simulated.setup.layout.num_gpus  # type: ignore[union-attr]
    on_cpu = groups(hardware="CPU", strategies=("tp",))[0]
    assert array_request(on_cpu, SubmitOptions(), RayOptions()) == ArrayRequest(0, "")


def test_arrays_are_no_longer_than_slurm_allows_and_keep_the_plan_s_order() -> None:
    every = groups()
    found = by_request(every, SubmitOptions(), RayOptions(), longest=3)
    assert {(request.gpus, len(listed)) for request, listed in found} == {(2, 3), (2, 1), (4, 2)}
    for gpus in (2, 4):
        mine = [g for request, listed in found if request.gpus == gpus for g in listed]
        wanted = [g for g in every if g.setup.layout and g.setup.layout.num_gpus == gpus]
        assert mine == wanted
