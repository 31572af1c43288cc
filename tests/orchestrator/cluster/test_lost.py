"""Nodes, drivers and heads that go away in the middle of it."""

import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.results.manifests import Manifest, read_manifests
from tests.machine import until

pytestmark = [pytest.mark.ray, pytest.mark.slow]

# Servers that take their time, so that there is a middle of it; the model of a GPU behind HTTP.
SERVER = ("--engine", "vllm", "--hardware", "A100-80GB", "-m", "OLMoE-1B-7B", "--num-warmups", "0",
          "--server-command", f"{sys.executable} -m servers.simulated",
          "--server-arg=--fault=slow-factor=8")  # fmt: skip
TWO_RUNS = ("-w", "16:60:6", "-c", "2,3")
"""A few seconds each."""
MEASURED = (0, 5)
"""A busy machine may make a run invalid; that it was measured and published is what counts here."""


def published(root: Path) -> list[Manifest]:
    return [each for each in read_manifests(root) if each.files]


def failures(root: Path) -> list[Manifest]:
    paths = sorted((root / "failed").glob("*.json"))
    return [msgspec.json.decode(path.read_bytes(), type=Manifest) for path in paths]


def until_gone(tagged: Any) -> None:
    until(lambda: not tagged.alive(), told=tagged.alive)


def test_a_node_that_goes_while_its_server_loads_is_lost_and_the_group_starts_elsewhere(
    cluster: Any, tagged: Any, tmp_path: Path
) -> None:
    root = tmp_path / "out"
    slow = ("--server-arg=--fault=slow-start-s=5",)
    going = cluster.start(*SERVER, *TWO_RUNS, "-s", "tp", *slow, *tagged.flags, "-o", str(root))
    node = going.wait_for(r"starting on (n\d)")
    going.wait_for(r"r0: starting$")
    cluster.send(f"remove {node}")
    assert going.end() in MEASURED, going.lines
    cluster.send(f"add {node}")
    assert Counter(each.record.verdict_reasons for each in failures(root)) == {"NODE_LOST": 1}
    assert {each.details["server"]["ray"]["nodes"][0] for each in published(root)} != {node}
    assert len(published(root)) == 2
    until_gone(tagged)


def test_a_node_that_goes_during_a_run_costs_that_run_alone(
    cluster: Any, tagged: Any, tmp_path: Path
) -> None:
    root = tmp_path / "out"
    going = cluster.start(*SERVER, *TWO_RUNS, "-s", "tp", *tagged.flags, "-o", str(root))
    node = going.wait_for(r"starting on (n\d)")
    going.wait_for(r"^\[1/2\]")
    first = {path.name: path.read_bytes() for path in (root / "runs").iterdir()}
    time.sleep(1)  # into the second run
    cluster.send(f"remove {node}")
    assert going.end() in MEASURED, going.lines
    cluster.send(f"add {node}")
    lost = failures(root)
    assert [each.record.verdict_reasons for each in lost] == ["NODE_LOST"]
    assert node in lost[0].record.error
    assert lost[0].record.run_id not in {name.removesuffix(".json") for name in first}
    for name, content in first.items():
        assert (root / "runs" / name).read_bytes() == content
    servers = {each.details["server"]["ray"]["nodes"][0] for each in published(root)}
    assert len(published(root)) == len(servers) == 2
    until_gone(tagged)


def test_a_driver_killed_with_9_leaves_no_server_and_resume_does_the_rest_once(
    cluster: Any, tagged: Any, tmp_path: Path
) -> None:
    root = tmp_path / "out"
    words = (*SERVER, *TWO_RUNS, "-s", "tp,ep", *tagged.flags, "-o", str(root))
    going = cluster.start(*words)
    going.wait_for(r"^\[1/4\]")
    assert tagged.alive()
    going.process.send_signal(signal.SIGKILL)
    going.end()
    until_gone(tagged)
    before = {path.name for path in (root / "runs").iterdir()}
    again = cluster.start(*words)
    assert again.end() in MEASURED, again.lines
    assert before
    runs = published(root)
    assert len(runs) == len({each.record.run_id for each in runs}) == 4
    assert f"[{len(before) + 1}/4]" in "".join(again.lines)
    until_gone(tagged)


def test_a_head_that_goes_ends_the_study_with_one_line_and_no_server_left(
    lost_head: Any, tagged: Any, tmp_path: Path
) -> None:
    going = lost_head.start(
        *SERVER, "-w", "16:400:12", "-c", "1", "-s", "tp", *tagged.flags, "-o", str(tmp_path / "o")
    )
    going.wait_for(r"measuring")
    lost_head.send("head")
    assert going.end() == 3
    assert [line for line in going.lines if "RAY_HEAD_LOST" in line] == [going.lines[-1]]
    until_gone(tagged)
