"""Stock images and setup lines on a real Slurm, with a stand-in for pyxis."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.slow,
    pytest.mark.usefixtures("no_process_left"),
]

SHAPE = {"NET": "ns", "NODES": "2"}
ROOT = Path(__file__).parents[2]
PYXIS = Path(__file__).with_name("cluster") / "pyxis"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A folder that stands for an image with a server `vllm` in it."""
    folder = tmp_path / "image"
    (folder / "bin").mkdir(parents=True)
    layers = {str(ROOT), sys.prefix, sys.base_prefix} - {"/usr"}
    (folder / "layers").write_text("".join(f"{layer}\n" for layer in sorted(layers)))
    script = folder / "bin" / "vllm"
    script.write_text(
        f"#!/bin/sh\n# The image's own: `serve MODEL ARGUMENTS`\nshift; model=$1; shift\n"
        f"PYTHONPATH={ROOT} exec {sys.executable} -m servers.simulated --model $model "
        '--hardware A100-80GB "$@"\n'
    )
    script.chmod(0o755)
    return folder


def document(tmp_path: Path, strategy: str, slurm: dict[str, Any]) -> dict[str, Any]:
    return {
        "models": ["OLMoE-1B-7B"],
        "strategies": [strategy],
        "workloads": ["16:16:6"],
        "concurrency": "2",
        "engine": "vllm",
        "server": {"env": {"MOESERVE_TEST": str(tmp_path)}},
        "slurm": {"cpus": 2, "memory": "5G", "time": "10", "export": ["PYTHONPATH"], **slurm},
    }


def test_a_stock_image_on_one_node_and_a_setup_line_that_fails(
    cluster: Any, tmp_path: Path, image: Path
) -> None:
    site = {
        "container": {"kind": "pyxis", "image": str(image)},
        "setup": [f"export PATH={PYXIS}:$PATH NCCL_ALGO=Ring", "ulimit -c 0"],
        "hardware": "CPU",
    }
    study = cluster.study(document(tmp_path, "tp", site), tmp_path, quiet_s=120)
    (run,) = study.published
    server = run.details["server"]
    assert server["chosen"] == {"image": f"pyxis:{image}", "launch_env": "NCCL_ALGO=Ring"}
    assert server["observed_layout"] == "tp"
    assert server["command"][:1] == ["srun"]
    # Its processes belong to a step of Slurm's; what srun itself takes is some 15 MB.
    assert run.record.extra["peak_host_memory_bytes"] > 40e6
    script = next(study.root.glob("slurm/*/task.sh")).read_text()
    assert "\nulimit -c 0\n" in script

    broken = document(tmp_path, "tp", {**site, "setup": ["true", "cat /no/such/module"]})
    (tmp_path / "broken.yaml").write_text(json.dumps(broken))
    root = tmp_path / "broken"
    cluster.submit(str(tmp_path / "broken.yaml"), "-o", str(root))
    cluster.until_over()
    (task,) = cluster.tasks(root)
    assert (task["state"], task["failure"]) == ("failed", "SETUP_FAILED")
    journal = next(root.glob("slurm/*/tasks/*.jsonl")).read_text()
    assert "`cat /no/such/module` ended with 1: cat: /no/such/module: No such file" in journal


@pytest.mark.ray
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray")
def test_a_stock_image_on_two_nodes_over_the_interface_that_was_named(
    cluster: Any, tmp_path: Path, image: Path
) -> None:
    site = {
        "container": {"kind": "pyxis", "image": str(image)},
        "setup": [f"export PATH={PYXIS}:$PATH"],
        "interface": "eth0",
        "ucx_devices": "mlx5_0:1",
        "hardware": "A100-80GB",
        "gpus": {"A100-80GB": {"type": "a100", "per_node": 4}},
    }
    study = cluster.study(document(tmp_path, "dp8+ep", site), tmp_path, quiet_s=150)
    (run,) = study.published
    server = run.details["server"]
    assert len(set(server["ray"]["node_ids"])) == 2
    assert server["chosen"]["image"] == f"pyxis:{image}"
    steering = server["chosen"]["launch_env"]
    assert "GLOO_SOCKET_IFNAME=eth0" in steering
    assert "NCCL_SOCKET_IFNAME==eth0" in steering
    assert "UCX_NET_DEVICES=mlx5_0:1" in steering
    command = server["command"]
    assert command[command.index("--data-parallel-size-local") + 1] == "4"
