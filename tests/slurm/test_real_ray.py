"""A server over two nodes of one job: Ray inside the allocation, and gone with it."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.usefixtures("no_process_left"),
    # Not importorskip: Ray takes a second to import, and most sessions leave these tests out.
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'moeserve[ray]'"
    ),
]

SHAPE = {"NET": "ns", "NODES": "2"}


def test_a_layout_of_two_nodes_runs_through_ray_inside_its_own_job(
    cluster: Any, tmp_path: Path
) -> None:
    document = {
        "models": ["OLMoE-1B-7B"],
        "strategies": ["dp8+ep"],
        "workloads": ["16:16:6"],
        "concurrency": "1,2",
        "engine": "vllm",
        "server": {
            "command": [sys.executable, "-P", "-m", "servers.simulated"],
            "args": ["--hardware", "A100-80GB"],
            "env": {"MOESERVE_TEST": str(tmp_path)},
        },
        "slurm": {
            "cpus": 2,
            "memory": "5G",
            "time": "10",
            "export": ["PYTHONPATH"],
            "hardware": "A100-80GB",
            "gpus": {"A100-80GB": {"type": "a100", "per_node": 4}},
        },
    }
    study = cluster.study(document, tmp_path, quiet_s=150)
    assert [(row["gres"], row["tasks"]) for row in study.submitted] == [("gpu:a100:4", 1)]
    assert {each.record.verdict for each in study.published} <= {"valid", "invalid"}
    assert [each.record.strategy for each in study.published] == ["dp8+ep", "dp8+ep"]
    for each in study.published:
        placed = each.details["server"]["ray"]
        assert len(set(placed["node_ids"])) == 2
        assert [len(gpus) for gpus in placed["gpus"]] == [4, 4]
        assert each.details["slurm"]["job"]
        command = each.details["server"]["command"]
        assert command[command.index("--data-parallel-size-local") + 1] == "4"
    assert list(study.root.glob("slurm/*/ray/*/token")) == []
