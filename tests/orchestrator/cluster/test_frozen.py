"""What does not go away but stops answering: a node, the head; and an object store that is slow."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cluster.orphan import GONE_S, QUIET_S, abandoned
from tests.machine import until
from tests.orchestrator.cluster.conftest import RayTestCluster, need_ray
from tests.orchestrator.cluster.test_lost import MEASURED, failures, published

SERVER = ("--engine", "vllm", "--hardware", "A100-80GB", "-m", "OLMoE-1B-7B", "--num-warmups", "0",
          "--server-command", f"{sys.executable} -m servers.simulated", "-s", "tp")  # fmt: skip
# Rows of 400 token times each: too many bytes to come with an answer, so the object store has them.
LARGE = ("-w", "16:400:40", "-c", "20,19")
SLOW = "ObjectManagerService.grpc_server.Push=2000000:2000000"
"""Each push of an object to another node waits two seconds."""


@pytest.fixture
def slow_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayTestCluster]:
    need_ray()
    cluster = RayTestCluster(
        tmp_path_factory.mktemp("ray"),
        ("n1", "n2"),
        token=True,
        RAY_testing_asio_delay_us=SLOW,
    )
    yield cluster
    asyncio.run(cluster.stop())


@pytest.mark.ray
@pytest.mark.slow
def test_with_a_slow_store_a_frozen_node_is_lost_and_a_frozen_head_ends_the_study(
    slow_store: Any, tagged: Any, tmp_path: Path
) -> None:
    root = tmp_path / "out"
    going = slow_store.start(*SERVER, *LARGE, *tagged.flags, "-o", str(root))
    node = going.wait_for(r"starting on (n\d)")
    going.wait_for(r"^\[1/2\]")
    slow_store.send(f"freeze {node}")
    assert going.end() in MEASURED, going.lines
    assert [each.record.verdict_reasons for each in failures(root)] == ["NODE_LOST"]
    runs = published(root)
    assert [each.record.completed for each in runs] == [40, 40], "every row came"
    assert len({each.record.extra["nodes"] for each in runs}) == 2
    # It goes on, and its server with it, on GPUs that the cluster has given up.
    assert tagged.alive()
    slow_store.send(f"thaw {node}")
    until(lambda: not tagged.alive(), QUIET_S + 20, told=tagged.alive)

    again = slow_store.start(*SERVER, *LARGE, *tagged.flags, "-o", str(tmp_path / "head"))
    again.wait_for(r"measuring")
    slow_store.send("freeze-head")
    assert again.end() == 3
    assert "RAY_HEAD_LOST" in again.lines[-1]
    assert "listens, and has answered nothing" in again.lines[-1]
    until(lambda: not tagged.alive(), 20, told=tagged.alive)


def test_an_agent_is_abandoned_when_its_node_is_counted_out_or_nobody_has_called_for_long() -> None:
    def unasked() -> bool:
        raise AssertionError("the head is asked only when the driver is quiet")

    assert not abandoned(QUIET_S / 2, unasked)
    assert not abandoned(2 * QUIET_S, lambda: False), "a driver that is slow comes back"
    assert abandoned(2 * QUIET_S, lambda: True)
    assert abandoned(2 * GONE_S, lambda: False)
