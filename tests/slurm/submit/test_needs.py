"""CPUs, memory, time and GPUs that a task is asked for where nobody names them."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from catalog.errors import BadFile, BadValue, ClusterError
from catalog.units import GIB
from moeserve.cli.slurm_submit import SubmitRequest, submit_study
from orchestrator.experiment.experiment import Experiment, ServerOptions
from orchestrator.plan import Plan
from orchestrator.results.manifests import Manifest
from orchestrator.results.store import Store
from orchestrator.run.outcome import failed_record, identity_of
from slurm.scheduler.parse import parse_duration
from slurm.submit.arrays import ArrayRequest, bookkeeping, resource_arguments
from slurm.submit.earlier import Starts, earlier
from slurm.submit.estimate import Estimator
from slurm.submit.needs import Needs, needs_of, shortage, together
from slurm.submit.options import SubmitOptions, merge_options
from slurm.submit.plan_elsewhere import remote_plan
from slurm.submit.submission import SubmissionStore
from tests.slurm.memory_slurm import MemorySlurm
from tests.slurm.studies import small


def plan_of(**changes: object) -> Plan:
    given = {"engine": "vllm", "models": ("Mixtral-8x7B",), "hardware": "A100-80GB", **changes}
    return asyncio.run(remote_plan(small(**given), SubmitOptions()))[0]


def needs(gpus: int, nodes: int = 1, **changes: object) -> Needs:
    plan = plan_of(**changes)
    (group,) = plan.groups
    model = plan.models[group.setup.model]
    return needs_of(group, model, ArrayRequest(gpus, group.setup.hardware, nodes))


def asked(experiment: Experiment, tmp_path: Path, **flags: object) -> dict[str, object]:
    rows = asyncio.run(
        submit_study(SubmitRequest(experiment, flags), tmp_path, dry_run=True, slurm=MemorySlurm())
    )
    return dict(rows[0])


def test_cpus_are_those_that_spin_by_vllm_s_own_rule_and_one_for_the_client() -> None:
    assert needs(8, strategies=("tp8",)).cpus == 1 + 1 + 8 + 1
    assert needs(8, strategies=("dp8+ep",)).cpus == 8 + 8 + 1 + 8 + 1
    one = ServerOptions(args=("--api-server-count", "1"))
    assert needs(8, strategies=("dp8+ep",), server=one).cpus == 1 + 8 + 1 + 8 + 1
    assert needs(4, 2, strategies=("dp8+ep",)).cpus == 8 + 4 + 1 + 4 + 1


def test_memory_holds_the_weights_and_what_is_offloaded() -> None:
    plain = needs(8, strategies=("tp8",)).memory_bytes
    assert plain is not None
    assert plain > 93.4e9, "the weights of Mixtral-8x7B in bfloat16"
    more = needs(8, strategies=("tp8",), techniques=("cpu-offload:10GiB",)).memory_bytes
    assert more == plain + 8 * 10 * GIB


def test_what_is_not_known_is_left_to_the_site() -> None:
    assert needs(0, strategies=("tp1",), hardware="CPU") == Needs()
    assert together([Needs(4, 1), Needs()]) == Needs()
    assert together([Needs(4, 7), Needs(8, 5)]) == Needs(8, 7)
    assert together([]) == Needs()
    assert shortage(Needs(), 1, 1) == ""


def test_a_simulated_task_asks_for_what_it_takes(tmp_path: Path) -> None:
    row = asked(small(), tmp_path)
    assert (row["cpus"], row["memory"]) == ("1", "1G")
    own = asked(small(), tmp_path, sbatch=["--mem-per-cpu=2G", "--cpus-per-gpu=4"])
    assert (own["cpus"], own["memory"]) == ("", "")


def test_less_than_is_needed_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    real = small(engine="vllm", strategies=("tp2",), hardware="A100-80GB")
    row = asked(real, tmp_path, memory="2G", cpus=1)
    assert (row["cpus"], row["memory"]) == ("1", "2G")
    told = capsys.readouterr().err
    assert "1 CPUs asked for, 5 are needed" in told
    assert "2.0 GiB of memory asked for" in told


def test_what_no_node_has_is_refused_with_what_was_asked_for(tmp_path: Path) -> None:
    class Small(MemorySlurm):
        """Has no node of so many CPUs."""

        async def submit(self, arguments: Sequence[str]) -> int:
            raise ClusterError("sbatch: error: More processors requested than permitted")

    request = SubmitRequest(small(engine="vllm", strategies=("tp8",), hardware="A100-80GB"))
    with pytest.raises(ClusterError, match=r"permitted; a task asks for 11 CPUs and \d+G memory"):
        asyncio.run(submit_study(request, tmp_path, dry_run=False, slurm=Small()))


def test_a_rehearsal_s_resources_do_not_survive_into_the_real_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rehearsal = {"rehearse": True, "memory": "2G", "time": 3, "gpu_type": "a100"}
    profile = tmp_path / "site.yaml"
    profile.write_text("default: x\nclusters: {x: {memory: 200G, cpus: 16}}")
    real = small(engine="vllm", strategies=("tp2",), hardware="A100-80GB", slurm=rehearsal)

    def row(experiment: Experiment) -> dict[str, object]:
        request = SubmitRequest(experiment, profile=profile)
        found = asyncio.run(submit_study(request, tmp_path, dry_run=True, slurm=MemorySlurm()))
        return dict(found[0])

    found = row(real)
    assert (found["memory"], found["cpus"], found["gres"]) == ("200G", "16", "gpu:a100:2")
    assert "memory, time of the study are those of its rehearsal" in capsys.readouterr().err
    assert row(msgspec.structs.replace(real, engine="simulated"))["memory"] == "2G"
    named = {name: value for name, value in rehearsal.items() if name not in ("rehearse", "time")}
    assert row(msgspec.structs.replace(real, slurm=named))["memory"] == "2G", "of the real study"


def test_the_limit_leaves_a_server_the_start_that_moeserve_would_wait_for(tmp_path: Path) -> None:
    real = small(engine="vllm", models=("Mixtral-8x7B",), strategies=("tp8",), hardware="H100")
    limit_s = parse_duration(str(asked(real, tmp_path)["time"]))
    assert limit_s is not None
    assert limit_s > real.server.start_timeout_s
    longer = msgspec.structs.replace(real, server=ServerOptions(start_timeout_s=7200))
    longer_s = parse_duration(str(asked(longer, tmp_path)["time"]))
    assert longer_s == pytest.approx(limit_s + 5400, abs=300)


def test_a_start_is_expected_to_read_the_checkpoint() -> None:
    big, little = (plan_of(models=(name,), strategies=("tp8",)) for name in
                   ("Mixtral-8x7B", "OLMoE-1B-7B"))  # fmt: skip
    starts = [Estimator(plan).start_room_s(plan.groups) for plan in (big, little)]
    weights = [plan.models[plan.groups[0].setup.model].held.total for plan in (big, little)]
    assert starts[1] - starts[0] == pytest.approx((weights[0] - weights[1]) / 1e9)
    simulated = asyncio.run(remote_plan(small(), SubmitOptions()))[0]
    assert Estimator(simulated).start_room_s(simulated.groups) == 0


def seen(root: Path, *starts: tuple[str, float], reasons: str = "") -> None:
    """Publish a run of Mixtral's on each of these servers, which took so long to start."""
    real = plan_of(strategies=("tp4",), concurrency="1", num_runs=len(starts))
    for (folder, start_s), run in zip(starts, real.runs, strict=True):
        identity = identity_of(run, real.groups[0], None, attempt=1, started_at="2026-01-01",
                               server_group=folder)  # fmt: skip
        error = ClusterError(f"{reasons}: x") if reasons else ClusterError("x")
        record = failed_record(error, "failed", identity=identity)
        (root / "runs").mkdir(exist_ok=True)
        Store(root).publish(Manifest(record=record, details={"start_s": start_s}))


def test_starts_that_were_seen_say_what_the_next_may_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = small(engine="vllm", models=("Mixtral-8x7B",), strategies=("tp8",), hardware="H100")

    def limit_s() -> float:
        return parse_duration(str(asked(real, tmp_path / "out")["time"])) or 0.0

    unseen_s = limit_s()
    (tmp_path / "out").mkdir()
    seen(tmp_path / "out", ("s1", 120.0), ("s2", 400.2))
    assert limit_s() <= unseen_s - (1800 - 2 * 400.2) + 300 + 1.5 * 400.2
    assert limit_s() > 2 * 400.2
    told = capsys.readouterr().err
    words = "vllm Mixtral-8x7B: 2 earlier starts took up to 0-00:06:41; the limit allows 0-00:13:20"
    assert words in told
    other = small(engine="vllm", models=("OLMoE-1B-7B",), strategies=("tp8",), hardware="H100")
    asked(other, tmp_path / "out")
    assert "earlier starts" not in capsys.readouterr().err, "another model's tell nothing"


def test_a_start_that_was_cut_off_takes_the_others_word_away(tmp_path: Path) -> None:
    seen(tmp_path, ("s1", 120.0))
    ((kind, starts),) = earlier(tmp_path).starts.items()
    assert (kind[1], starts) == ("Mixtral-8x7B", Starts(1, 120.0))
    next((tmp_path / "runs").iterdir()).unlink()
    seen(tmp_path, ("s1", 120.0), reasons="START_TIMEOUT")
    assert earlier(tmp_path).starts == {}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gpu_type": "a100"}, ["--gres=gpu:a100:4"]),
        ({"gpu_type": "a100", "sbatch": ["--gres=nvme:100"]}, ["--gres=gpu:a100:4,nvme:100"]),
        ({"gpu_request": "gpus-per-node"}, ["--gpus-per-node=4"]),
        ({"gpu_request": "gpus-per-task", "gpu_type": "h100"}, ["--gpus-per-task=h100:4"]),
        (
            {"gpu_request": "gpus-per-node", "sbatch": ["--gres=tmpdisk:9"]},
            ["--gpus-per-node=4", "--gres=tmpdisk:9"],
        ),
        ({"gpu_request": "none"}, []),
        ({"gpu_request": "none", "sbatch": ["--gres=gpu:8"]}, ["--gres=gpu:8"]),
        ({"sbatch": ["--gres=none"]}, ["--gres=none"]),
    ],
)
def test_gpus_are_asked_for_in_the_site_s_way(options: dict[str, object], words: list[str]) -> None:
    found = resource_arguments(ArrayRequest(4, "A100-80GB"), merge_options(options))
    assert found == ["--nodes=1", "--ntasks=1", *words]


def test_other_resources_are_asked_for_without_a_gpu_too() -> None:
    options = merge_options({"sbatch": ["--gres=nvme:100"]})
    assert resource_arguments(ArrayRequest(0, ""), options)[2:] == ["--gres=nvme:100"]


@pytest.mark.parametrize(
    "option",
    [
        "--gres=gpu:a100:4,nvme:100",
        "--gpus-per-node=4",
        "--gpus=4",
        "--gres=gpu",
        "--gres=nvme:1,shard:2",
        "--gres=gres/mps:50",
        "--tres-per-task=cpu:4,gres/gpu:1",
    ],
)
def test_a_second_request_for_gpus_is_refused_with_the_way_out(option: str) -> None:
    with pytest.raises(BadValue, match="gpu_request"):
        merge_options({"sbatch": [option]})
    assert merge_options({"sbatch": [option], "gpu_request": "none"}).sbatch == (option,)


def test_a_limit_among_sbatch_s_own_options_is_the_limit_of_a_task(tmp_path: Path) -> None:
    """Its signal would come at once: 150 s before the end of a task that has 120."""
    options = merge_options({"time": "5", "sbatch": ["--time=2", "--time=4", "--licenses=x"]})
    assert (options.time, options.sbatch) == ("4", ("--licenses=x",))
    cluster = MemorySlurm()
    request = SubmitRequest(small(), {"sbatch": ["--time=2"]}, then=("collect",))
    asyncio.run(submit_study(request, tmp_path, dry_run=False, slurm=cluster))
    (submission,) = SubmissionStore(tmp_path).submissions()
    words = submission.arrays[0].arguments
    assert [word for word in words if word.startswith("--time")] == ["--time=2"]
    assert "--signal=B:USR2@60" in words
    (follow_up,) = submission.follow_ups
    assert [word for word in follow_up.arguments if word.startswith("--time")] == ["--time=1:00:00"]


def test_jobs_are_named_and_commented_as_the_site_wants(tmp_path: Path) -> None:
    options = merge_options({"job_name": "proj-sub:{job}", "comment": "grant 7 {token}"})
    assert "--comment=grant 7 tok" in bookkeeping("n", "tok", Path("/d"), options)
    cluster = MemorySlurm()
    flags = {"job_name": "proj-sub:{job}"}
    request = SubmitRequest(small(), flags, then=("collect",))
    asyncio.run(submit_study(request, tmp_path, dry_run=False, slurm=cluster))
    names = {info.name.rpartition("-")[0] for info in asyncio.run(cluster.queue())}
    assert all(name.startswith("proj-sub:moeserve-") for name in names)
    again = asyncio.run(
        submit_study(SubmitRequest(small(), flags), tmp_path, dry_run=False, slurm=cluster)
    )
    assert again == [], "found again by the same names"
    for wrong in ("fixed", "a,{job}", "{job}{job}", "../{job}", "a b{job}"):
        with pytest.raises(BadFile, match="job_name"):
            merge_options({"job_name": wrong})
