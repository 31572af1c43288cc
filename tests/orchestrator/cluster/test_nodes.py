"""Whole studies on three nodes of a real Ray: where servers go, how many, and who is let in."""

import json
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from orchestrator.results.manifests import Manifest, read_manifests

pytestmark = [pytest.mark.ray, pytest.mark.slow]

MODELS = ("-m", "OLMoE-1B-7B", "-m", "Qwen1.5-MoE-A2.7B", "-m", "Qwen3-30B-A3B")
LAYOUTS = ("-s", "single,tp,ep,tp+ep")
SMALL = ("-w", "16:8:6", "-c", "1,4")


def published(root: Path) -> list[Manifest]:
    return [each for each in read_manifests(root) if each.files]


def schedule(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(next(root.glob("ray/schedule-*.json")).read_text())
    return found


def overlapping(root: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    pairs = combinations(schedule(root)["stays"], 2)
    return [
        (a, b) for a, b in pairs if a["started_s"] < b["ended_s"] and b["started_s"] < a["ended_s"]
    ]


def passed_over(stays: list[dict[str, Any]]) -> list[tuple[str, float, float]]:
    """The times in which a node stood idle while another took a group, ended it and took one more.

    Placing takes a moment, on a busy machine a long one, and so does all else: who comes first is
    the same there, and a node that is free is not passed over twice for one that is not.
    """
    found = []
    for node in {stay["nodes"][0] for stay in stays}:
        own = sorted(
            (each["started_s"], each["ended_s"]) for each in stays if each["nodes"][0] == node
        )
        edges = [0.0, *(end for _, end in own)], [*(start for start, _ in own), float("inf")]
        for free_s, taken_s in zip(*edges, strict=True):
            between = Counter(
                each["nodes"][0] for each in stays if free_s < each["started_s"] < taken_s
            )
            found += [(node, free_s, taken_s) for count in between.values() if count > 1]
    return found


def test_four_layouts_of_three_models_fill_the_nodes_and_never_share_one(
    cluster: Any, tmp_path: Path
) -> None:
    root = tmp_path / "out"
    study = ("--engine", "simulated", *MODELS, *LAYOUTS, *SMALL, "--num-runs", "2")
    done = cluster.run(*study, "-o", str(root))
    assert done.returncode == 0, done.stderr
    runs = published(root)
    assert len(runs) == 48
    assert {each.record.verdict for each in runs} == {"valid"}
    for each in runs:
        placed = each.details["server"]["ray"]
        assert len(placed["nodes"]) == len(set(placed["nodes"])) == 1
        assert len(set(placed["gpus"][0])) == each.record.num_gpus
        assert each.record.extra["nodes"] == placed["nodes"][0]
        assert each.record.extra["co_located_groups"] == 0
    together = overlapping(root)
    assert together, "nothing ran at the same time"
    assert all(not set(a["nodes"]) & set(b["nodes"]) for a, b in together)
    went = schedule(root)
    assert len(went["stays"]) == 24
    assert passed_over(went["stays"]) == []
    assert went["measured_s"] >= went["lower_bound_s"]
    assert went["predicted_s"] is not None


def test_nodes_are_shared_only_when_asked_and_the_record_says_with_how_many(
    cluster: Any, tmp_path: Path
) -> None:
    root = tmp_path / "out"
    words = ("--engine", "simulated", "-m", "OLMoE-1B-7B", "-s", "single,tp,ep", *SMALL,
             "--num-runs", "3", "--share-nodes", "-o", str(root))  # fmt: skip
    assert cluster.run(*words).returncode == 0
    assert any(set(a["nodes"]) & set(b["nodes"]) for a, b in overlapping(root))
    assert max(int(each.record.extra["co_located_groups"] or 0) for each in published(root)) > 0


def test_a_layout_larger_than_a_node_takes_whole_nodes_and_a_tensor_group_only_when_asked(
    cluster: Any, tmp_path: Path
) -> None:
    words = ("--engine", "simulated", "-m", "OLMoE-1B-7B", *SMALL)
    done = cluster.run(*words, "-s", "dp8+ep,tp8", "-o", str(tmp_path / "out"))
    assert "tp8: tp = 8 needs 8 GPUs on one node, a node has 4" in done.stderr
    runs = published(tmp_path / "out")
    assert {each.record.strategy for each in runs} == {"dp8+ep"}
    assert {len(set(each.details["server"]["ray"]["node_ids"])) for each in runs} == {2}
    split = cluster.run(*words, "-s", "tp8", "--split-tp", "-o", str(tmp_path / "split"))
    assert split.returncode == 0, split.stderr
    assert len(published(tmp_path / "split")) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("-s", "dp16+ep"),
            "needs 4 + 4 + 4 + 4 A100-80GB on 4 nodes, there are 3 nodes of 4 A100",
        ),
        (("-s", "tp", "--hardware", "H100"), "needs 2 H100, there are 3 nodes of 4 A100"),
    ],
)
def test_what_no_node_can_carry_is_refused_at_once_with_what_there_is(
    cluster: Any, tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    root = tmp_path / "out"
    asked = ("--engine", "simulated", "-m", "OLMoE-1B-7B", *words, "-o", str(root))
    # Five seconds on a machine of its own, where a server would take a minute or never come.
    done = cluster.run(*asked, quiet_s=15)
    assert done.returncode == 4
    assert told in done.stderr
    assert not root.exists()


def one_line(done: Any) -> str:
    assert done.returncode == 3, done.stderr
    lines: list[str] = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_a_wrong_token_a_dead_head_and_no_ray_at_all_are_one_line_each(
    cluster: Any, tmp_path: Path
) -> None:
    wrong = tmp_path / "token"
    wrong.write_text("not-the-token")
    wrong.chmod(0o600)
    plan = ("plan", "--launcher", "ray", "--engine", "simulated", "-s", "tp")
    done = cluster.moeserve(*plan, "--ray-address", cluster.address, "--ray-token-file", str(wrong))
    assert "RAY_TOKEN" in one_line(done)
    dead = cluster.moeserve(*plan, "--ray-address", "127.0.0.1:9", "--ray-token-file", str(wrong))
    assert "RAY_HEAD_LOST: no Ray head at 127.0.0.1:9" in one_line(dead)
    wrong.chmod(0o644)
    open_file = cluster.moeserve(
        *plan, "--ray-address", cluster.address, "--ray-token-file", str(wrong)
    )
    assert open_file.returncode == 2
    assert "others may read this token" in open_file.stderr


def test_a_cluster_that_asks_nobody_for_a_token_is_used_only_when_the_user_says_so(
    open_cluster: Any, tmp_path: Path
) -> None:
    words = ("--engine", "simulated", "-m", "OLMoE-1B-7B", "-s", "tp", *SMALL)
    root = tmp_path / "out"
    assert "RAY_OPEN" in one_line(open_cluster.run(*words, "-o", str(root)))
    allowed = open_cluster.run(*words, "--ray-allow-unauthenticated", "-o", str(root))
    assert allowed.returncode == 0, allowed.stderr
    assert len(published(root)) == 2
