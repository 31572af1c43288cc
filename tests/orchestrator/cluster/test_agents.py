"""Servers through agents: over several nodes, loaded from elsewhere, and the doctor's look."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.results.manifests import Manifest, read_manifests
from tests.machine import limit

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SERVER = ("--engine", "vllm", "--hardware", "A100-80GB", "-m", "OLMoE-1B-7B", "-w", "16:16:6",
          "-c", "2", "--server-command", f"{sys.executable} -m servers.simulated")  # fmt: skip


def published(root: Path) -> list[Manifest]:
    return [each for each in read_manifests(root) if each.files]


def test_each_node_runs_its_part_of_a_server_over_two_nodes_and_all_end_together(
    cluster: Any, tagged: Any, tmp_path: Path
) -> None:
    root = tmp_path / "out"
    done = cluster.run(*SERVER, "-s", "dp8+ep", *tagged.flags, "-o", str(root))
    assert done.returncode in (0, 5), done.stderr
    (run,) = published(root)
    command = run.details["server"]["command"]
    assert command[command.index("--data-parallel-size-local") + 1] == "4"
    assert "--headless" not in command
    assert [len(gpus) for gpus in run.details["server"]["ray"]["gpus"]] == [4, 4]
    assert tagged.alive() == []


# The head has no GPUs, so the server is elsewhere whichever node Ray takes first.
@pytest.mark.parametrize("where", ["driver", "head"])
def test_the_load_may_come_over_the_network_from_the_driver_or_another_node(
    cluster: Any, tagged: Any, tmp_path: Path, where: str
) -> None:
    root = tmp_path / "out"
    done = cluster.run(*SERVER, "-s", "tp", "--client-on", where, *tagged.flags, "-o", str(root))
    assert done.returncode in (0, 5), done.stderr
    (run,) = published(root)
    assert run.record.extra["client_on"] == where
    assert run.record.completed == 6
    command = run.details["server"]["command"]
    assert command[command.index("--host") + 1] == cluster.address.split(":")[0]
    assert tagged.alive() == []


def test_a_server_that_fails_on_two_nodes_turns_them_away_and_names_them(
    cluster: Any, tagged: Any, tmp_path: Path
) -> None:
    root = tmp_path / "out"
    broken = ("--server-arg=--fault=exit-at-start=7", "--retries", "5")
    done = cluster.run(*SERVER, "-s", "tp4", *broken, *tagged.flags, "-o", str(root))
    assert done.returncode == 3
    assert done.stderr.count("is avoided after 2 failures") == 3
    schedule = json.loads(next(root.glob("ray/schedule-*.json")).read_text())
    assert sorted(schedule["avoided_nodes"]) == ["n1", "n2", "n3"]


def test_the_doctor_sees_every_node_and_what_is_missing_there(cluster: Any) -> None:
    done = cluster.moeserve(
        *("doctor", "--ray", "--ray-address", cluster.address, "--format", "json"),
        *("--ray-token-file", str(cluster.token), "--model", "mixtral"),
    )
    rows = {row["node"]: row for row in json.loads(done.stdout)}
    assert set(rows) == {"head", "n1", "n2", "n3"}
    assert {row["moeserve"] for row in rows.values()} == {"same as here"}
    assert {rows[name]["gpu_type"] for name in ("n1", "n2", "n3")} == {"A100"}
    assert "no files of mistralai/Mixtral-8x7B" in rows["n1"]["problems"]
    assert done.returncode == 3


# Ray lets workers look where the driver stands: on this host that must not be beside the source.
TRAVEL = """
import asyncio, sys
from orchestrator.cluster.access import check_access
from orchestrator.cluster.connection import connected
from orchestrator.experiment.ray_options import RayOptions
from orchestrator.cluster.runtime_env import runtime_env
access = asyncio.run(check_access(RayOptions(address=sys.argv[1], token_file=sys.argv[2])))
with connected(access, namespace="travel", runtime_env=runtime_env()):
    import ray
    def where():
        import orchestrator.cluster.serving
        return orchestrator.cluster.serving.__file__
    print(ray.get(ray.remote(num_cpus=0)(where).remote()))
"""


def test_the_source_that_travels_is_what_the_workers_run(cluster: Any, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TRAVEL, cluster.address, str(cluster.token)],
        capture_output=True,
        text=True,
        timeout=limit(100),
        cwd=tmp_path,
    )
    assert "runtime_resources" in done.stdout, done.stderr
