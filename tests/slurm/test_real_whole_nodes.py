"""Whole nodes of a real Slurm: groups side by side in one task, and neighbours not of ours."""

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

SHAPE = {"NODES": "1"}
GPU = "A100-80GB"


def study(folder: Path, slurm: dict[str, Any], **changes: object) -> dict[str, Any]:
    return {
        "models": ["OLMoE-1B-7B"],
        "workloads": ["16:16:6"],
        "concurrency": "2",
        "engine": "vllm",
        "server": {
            "command": [sys.executable, "-P", "-m", "servers.simulated"],
            "args": ["--hardware", GPU],
            "env": {"MOESERVE_TEST": str(folder)},
        },
        **changes,
        "slurm": {"time": "10", "export": ["PYTHONPATH"], **slurm},
    }


def test_groups_share_a_node_that_is_billed_whole_and_tasks_find_each_other_where_none_is(
    cluster: Any, tmp_path: Path
) -> None:
    for name in ("packed", "spread"):
        (tmp_path / name).mkdir()
    check_packed(cluster, tmp_path / "packed")
    check_spread(cluster, tmp_path / "spread")


def check_packed(cluster: Any, folder: Path) -> None:
    """Two groups of one task, beside each other under a Ray of the job's own."""
    packed = study(
        folder,
        strategies=["single", "tp"],
        price_per_hour_usd=2.0,
        ray={"share_nodes": True},
        slurm={
            "whole_nodes": True,
            "hardware": GPU,
            "gpus": {GPU: {"type": "a100", "per_node": 4}},
        },
    )
    done = cluster.study(packed, folder, quiet_s=150)
    (row,) = done.submitted
    assert (row["groups"], row["tasks"], row["gres"]) == (2, 1, "gpu:a100:4")
    # Ten minutes at most, on all four GPUs of the node though three of them serve.
    assert row["max_gpu_hours"] == pytest.approx(4 * 10 / 60)
    assert row["usd"] == pytest.approx(2.0 * row["gpu_hours"])
    runs = {each.record.strategy: each for each in done.published}
    assert set(runs) == {"single", "tp"}
    told = [each.record.extra for each in runs.values()]
    assert [(each["co_located_groups"], each["node_shared"]) for each in told] == [(1, "yes")] * 2
    assert len({each.details["slurm"]["job"] for each in runs.values()}) == 1
    gpus = [each.details["server"]["ray"]["gpus"][0] for each in runs.values()]
    assert sorted(map(len, gpus)) == [1, 2]
    assert not set(gpus[0]) & set(gpus[1])
    assert list(done.root.glob("slurm/*/ray/*/token")) == []


def check_spread(cluster: Any, folder: Path) -> None:
    """Two tasks that Slurm puts on one node, which neither has alone."""
    ours = study(folder, strategies=["tp", "ep"], slurm={"cpus": 2, "memory": "2G"})
    done = cluster.study(ours, folder, quiet_s=90)
    told = [each.record.extra for each in done.published]
    assert [each["nodes"] for each in told] == ["node1", "node1"]
    assert max(int(each["co_located_jobs"] or 0) for each in told) == 1
    assert "yes" in {each["node_shared"] for each in told}
