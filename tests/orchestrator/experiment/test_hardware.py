"""The GPU of an experiment: the user's own in identities and records, and one that nobody knows."""

import pickle
from pathlib import Path

import msgspec
import pytest

from catalog.errors import BadFile, BadValue, ChangedExperiment, UnknownName
from orchestrator.cluster.launch import usual_gpu
from orchestrator.engines.checks import missing_link
from orchestrator.engines.registry import engine_kind
from orchestrator.engines.simulated.engine import expected_seconds
from orchestrator.experiment.experiment import Experiment, override, read_experiment
from orchestrator.host.devices import Device
from orchestrator.host.nodes import Node, most_common_gpu
from orchestrator.plan import make_plan, notices
from orchestrator.results.directory import default_directory
from orchestrator.results.store import Store
from orchestrator.run.outcome import price_per_hour
from slurm.job.gpu_check import gpu_mismatch
from slurm.submit.options import merge_options
from slurm.submit.plan_elsewhere import pool_of
from tests.needs import needs_transformers

ROW = """
hardware: My-GPU
memory_bytes: 48e9
bandwidth_bytes_per_s: 900e9
bfloat16_flops_per_s: 180e12
price_per_hour_usd: 0.5
driver_names: [NVIDIA Mine 48GB]
"""
MINE = Device(0, "GPU-0", "NVIDIA Mine 48GB", 48_000_000_000)
UNKNOWN = Device(0, "GPU-1", "NVIDIA T1000", 8_000_000_000)
SMALL = Experiment(
    models=("OLMoE-1B-7B",), strategies=("single",), workloads=("16:8:5",), concurrency="2"
)


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that rows are kept in: empty."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "moeserve" / "hardware.yaml"


def written(path: Path, text: str = ROW) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def on(hardware: str | dict[str, str] | None) -> Experiment:
    return msgspec.structs.replace(SMALL, hardware=hardware)


def test_what_is_studied_does_not_depend_on_where_the_file_lies(tmp_path: Path, kept: Path) -> None:
    one, two = on(written(tmp_path / "a.yaml")), on(written(tmp_path / "b" / "c.yaml"))
    written(kept)
    ids = [make_plan(each, "simulated").run_ids for each in (one, two, on("my-gpu"))]
    assert ids[0] == ids[1] == ids[2]
    assert one.hardware == on("My-GPU").hardware
    assert default_directory(one) == default_directory(two)


def test_files_of_one_name_with_other_numbers_are_other_runs_and_another_experiment(
    tmp_path: Path,
) -> None:
    before = on(written(tmp_path / "a.yaml"))
    after = on(written(tmp_path / "a.yaml", ROW.replace("48e9", "40e9")))
    plans = [make_plan(each, "simulated") for each in (before, after)]
    assert not plans[0].run_ids & plans[1].run_ids
    assert plans[0].setups[0].hardware != plans[1].setups[0].hardware
    Store(tmp_path / "out").create(before)
    Store(tmp_path / "out").create(on(written(tmp_path / "a.yaml", ROW + "source: a friend")))
    with pytest.raises(ChangedExperiment, match="My-GPU#"):
        Store(tmp_path / "out").create(after)


def test_an_experiment_carries_the_row_to_where_the_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    asked = on(written(path))
    path.unlink()
    sent = msgspec.json.decode(msgspec.json.encode(asked), type=Experiment)
    plan = make_plan(sent, "simulated")
    assert plan.run_ids == make_plan(asked, "simulated").run_ids
    (setup,) = pickle.loads(pickle.dumps(plan)).setups
    assert setup.gpu is not None
    assert setup.gpu.memory_bytes == 48e9
    assert price_per_hour(setup, None) == 0.5
    assert price_per_hour(setup, 0.75) == 0.75
    assert "own_gpu" not in msgspec.to_builtins(setup.stored)


def test_files_stand_in_a_yaml_experiment_and_for_single_strategies(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.yaml")
    text = f"strategies: [single, tp]\nhardware: {{default: H100, single: '{path}'}}\n"
    asked = read_experiment(Path(written(tmp_path / "study.yaml", text)))
    hardware = {s.strategy: s.hardware for s in make_plan(asked, "simulated").setups}
    assert hardware["tp"] == "H100"
    assert hardware["single"].startswith("My-GPU#")
    Path(path).write_text(ROW.replace("48e9", "48"))
    with pytest.raises(BadFile, match=r"memory_bytes: got 48\.0"):
        read_experiment(tmp_path / "study.yaml")
    with pytest.raises(BadFile, match="no such hardware file"):
        override(SMALL, {"hardware": str(tmp_path / "none.toml")})


def test_an_estimate_for_a_gpu_that_nobody_knows_is_refused_with_the_way_to_tell_it() -> None:
    with pytest.raises(UnknownName, match=r"H100.*--hardware FILE"):
        make_plan(on("H10O"), "simulated")
    with pytest.raises(UnknownName, match="NVIDIA T1000"):
        make_plan(on("NVIDIA T1000"), "simulated")


@needs_transformers
@pytest.mark.parametrize("asked", [None, "NVIDIA T1000", "nvidia t1000", "T1000"])
def test_a_gpu_that_no_row_knows_is_measured_under_its_drivers_name_and_said(
    asked: str | None,
) -> None:
    plan = make_plan(on(asked), "transformers", found=(UNKNOWN,))
    (setup,) = plan.setups
    assert (setup.hardware, setup.gpu) == ("NVIDIA T1000", None)
    assert price_per_hour(setup, None) is None
    (group,) = plan.groups
    assert expected_seconds(group, group.runs, plan.models[setup.model]) == [None]
    told = notices("auto: transformers", plan)
    assert told.startswith("auto: transformers\nno row describes NVIDIA T1000")
    assert notices("", make_plan(SMALL, "simulated")) == ""


def test_another_gpu_than_the_one_here_is_refused_known_or_not() -> None:
    for asked in ("NVIDIA T2000", "H100"):
        with pytest.raises(BadValue, match="what is here: NVIDIA T1000"):
            make_plan(on(asked), "transformers", found=(UNKNOWN,))


@needs_transformers
def test_a_row_stands_for_the_gpu_here_only_if_it_names_it(tmp_path: Path, kept: Path) -> None:
    mine = on(written(tmp_path / "a.yaml"))
    (setup,) = make_plan(mine, "transformers", found=(MINE,)).setups
    assert setup.hardware == mine.hardware
    other = on(written(tmp_path / "b.yaml", ROW.replace("NVIDIA Mine 48GB", "NVIDIA Other")))
    with pytest.raises(BadValue, match=r"what is here: NVIDIA Mine 48GB; .*driver_names"):
        make_plan(other, "transformers", found=(MINE,))
    written(kept)
    (unasked,) = make_plan(SMALL, "transformers", found=(MINE,)).setups
    assert unasked.hardware == mine.hardware
    assert unasked.gpu is not None


def test_a_link_that_a_row_leaves_out_refuses_the_layouts_that_need_it(tmp_path: Path) -> None:
    asked = msgspec.structs.replace(on(written(tmp_path / "a.yaml")), strategies=("single", "tp"))
    plan = make_plan(asked, "simulated")
    assert [setup.strategy for setup in plan.setups] == ["single"]
    (refused,) = plan.refused
    assert "intra_node_bytes_per_s of My-GPU#" in refused.reasons[0]
    linked = ROW + "gpus_per_node: 8\nintra_node_bytes_per_s: 32e9\n"
    asked = msgspec.structs.replace(asked, hardware=written(tmp_path / "a.yaml", linked))
    assert len(make_plan(asked, "simulated").setups) == 2
    assert missing_link(plan.setups[0]) == ""


def test_the_simulated_server_is_given_the_row_itself(tmp_path: Path) -> None:
    from orchestrator.engine import LaunchContext
    from servers.simulated.__main__ import _gpu

    plan = make_plan(on(written(tmp_path / "a.yaml")), "simulated")
    (group,) = plan.groups
    command = engine_kind("simulated").command
    assert command is not None
    context = LaunchContext(plan.experiment, plan.models[group.setup.model], Path())
    words = command(group, context, 0, "x").words
    assert _gpu(words[words.index("--hardware") + 1]).name == group.setup.hardware


@needs_transformers
def test_slurm_asks_for_own_and_unknown_gpus_by_the_names_they_are_recorded_under(
    tmp_path: Path, kept: Path
) -> None:
    written(kept)
    options = merge_options({"gpus": {"my-gpu": {"per_node": 4}, "NVIDIA T1000": {"per_node": 2}}})
    (own, unknown) = options.gpus
    assert own.startswith("My-GPU#")
    assert unknown == "NVIDIA T1000"
    kept.unlink()
    again = msgspec.json.decode(msgspec.json.encode(options), type=type(options))
    assert again.gpus_per_node == {own: 4, unknown: 2}
    with pytest.raises(UnknownName):
        merge_options({"gpus": {"H10O": {}}})
    pool = pool_of(on(None), merge_options({"hardware": "a100"}))
    assert pool is not None
    assert pool.hardware == "A100-80GB"
    (group,) = make_plan(on(written(tmp_path / "a.yaml")), "transformers", found=(MINE,)).groups
    assert gpu_mismatch(group, [MINE]) == ""
    assert "here are NVIDIA T1000" in gpu_mismatch(group, [UNKNOWN])


def test_a_node_of_unknown_gpus_is_no_cpu_node() -> None:
    def node(kind: str, *, recorded: bool = False) -> Node:
        return Node("n", "n", "x", gpus=4, accelerator_type=kind, recorded=recorded)

    assert most_common_gpu([node("T4")]) == "T4"
    assert most_common_gpu([node("RTX-PRO-6000")]) == "RTX-PRO-6000"
    with pytest.raises(BadValue, match="the name that nvidia-smi gives"):
        usual_gpu(SMALL, (node(""),))
    assert usual_gpu(SMALL, (node(""), node("T4"))) == "T4"
    assert node("").provides("NVIDIA GeForce RTX 3090")
    assert node("T4").provides("Tesla T4")
    assert not node("T4").provides("NVIDIA T400")
    assert node("H100").provides("My-GPU#12345678")
    assert not node("H100", recorded=True).provides("My-GPU#12345678")
    assert node("My-GPU#12345678", recorded=True).provides("My-GPU#12345678")
    assert node("H100").provides("H100-NVL")
    assert not node("H100", recorded=True).provides("H100-NVL")
