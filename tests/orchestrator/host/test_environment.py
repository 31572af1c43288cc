"""What a run was made with is written down as it is."""

import subprocess
from pathlib import Path

import pytest

from orchestrator.host.environment import describe, launch_env, launch_variables

ROOT = Path(__file__).parents[3]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_a_checkout_is_described_by_its_commit() -> None:
    told = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    described = describe()["source_revision"]
    assert described is not None
    assert told.stdout.startswith(described.removesuffix("-dirty").rpartition("-g")[2])


def test_tasks_on_equal_nodes_have_one_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What each task has of its own makes no other machine of its node."""
    for name in launch_variables():
        monkeypatch.delenv(name)
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "hsn0")
    told = []
    for number in ("1", "2"):
        for name in ("SLURM_JOB_ID", "CUDA_VISIBLE_DEVICES", "VLLM_HOST_IP", "VLLM_CACHE_ROOT"):
            monkeypatch.setenv(name, number)
        monkeypatch.setenv("FLASHINFER_WORKSPACE_BASE", f"/tmp/task-{number}/flashinfer")
        told.append((describe()["variables"], launch_env()))
    assert told[0] == told[1]
    assert told[0][1] == "NCCL_SOCKET_IFNAME=hsn0", "and its runs are pooled with the others'"
    assert told[0][0]["NCCL_SOCKET_IFNAME"] == "hsn0"
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "eth0")
    assert describe()["variables"] != told[0][0], "another network is another environment"
