"""Counted routing: read from either file, refused in one line, and priced instead of a law."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from catalog.errors import BadFile, BadValue
from catalog.hardware_table import gpu
from catalog.model_table import model
from perfmodel.expert_balance import max_over_mean, rank_tokens
from perfmodel.experts import RoutingSkew, busiest_share, choice_chances, touched
from perfmodel.load import prefill_load
from perfmodel.routing_file import RoutingFile, read_routing, write_routing
from perfmodel.serving import ServerSettings, server
from strategies import parse_layout

# Six tokens, top 2 of four experts, two layers.
COUNTS = [[6, 3, 2, 1], [3, 3, 3, 3]]
FILE = RoutingFile(model="m", text="t", text_sha256="", tokens=6, top_k=2, expert_tokens=COUNTS)


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "routing.json"
    write_routing(path, FILE)
    assert read_routing(path) == RoutingSkew(counts=((6, 3, 2, 1), (3, 3, 3, 3)), top_k=2)


def parquet(path: Path, rows: list[tuple[int, int, int]], names: tuple[str, ...]) -> Path:
    columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    pq.write_table(pa.table(columns), path)
    return path


def test_a_run_s_expert_load_is_read_as_well(tmp_path: Path) -> None:
    rows = [(layer, expert, COUNTS[layer][expert]) for layer in (1, 0) for expert in range(4)]
    path = parquet(tmp_path / "experts.parquet", rows, ("layer", "expert", "tokens"))
    assert read_routing(path).counts == ((6, 3, 2, 1), (3, 3, 3, 3))


@pytest.mark.parametrize(("changed", "told"), [
    ({"expert_tokens": [[6, 3, 2, 1], [12]]}, "one number of experts each"),
    ({"expert_tokens": [[6, 3, 2, 1], [3, 3, 3, 4]]}, "13 in layer 1, not 6 tokens · 2"),
    ({"expert_tokens": [[13, 0, 0, -1]]}, "whole numbers from 0"),
    ({"expert_tokens": [[12]]}, "two experts or more"),
    ({"expert_tokens": []}, "one number of experts each"),
    ({"expert_tokens": [["a"]]}, r"\$.expert_tokens"),
    ({"expert_tokens": [[10**30, 0]]}, "routing.json: "),
    ({"tokens": 0, "expert_tokens": [[0, 0]]}, "a token in each layer"),
    ({"top_k": "two"}, r"\$.top_k"),
    ({"topk": 2}, "topk"),
])  # fmt: skip
def test_a_bad_file_is_refused_in_one_line_that_names_the_field(
    changed: dict[str, Any], told: str, tmp_path: Path
) -> None:
    path = tmp_path / "routing.json"
    path.write_text(json.dumps(msgspec.to_builtins(FILE) | changed))
    with pytest.raises(BadFile, match=told) as refused:
        read_routing(path)
    assert "routing.json" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b"PAR1"])
@pytest.mark.parametrize("name", ["routing.json", "experts.parquet"])
def test_what_is_no_such_file_at_all_is_refused_too(data: bytes, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(BadFile):
        read_routing(path)
    with pytest.raises(BadFile, match="no such file of routing"):
        read_routing(tmp_path / "missing.json")


@pytest.mark.parametrize(("rows", "names"), [
    ([(0, 0, 3)], ("layer", "expert", "count")),
    ([], ("layer", "expert", "tokens")),
    ([(0, 0, 3), (0, 2, 3)], ("layer", "expert", "tokens")),
    ([(0, 0, 3), (0, 0, 3), (0, 1, 1)], ("layer", "expert", "tokens")),
    ([(0, 0, -3), (0, 1, 3)], ("layer", "expert", "tokens")),
    ([(0, 10**9, 3), (10**9, 1, 3)], ("layer", "expert", "tokens")),
])  # fmt: skip
def test_a_table_without_a_row_for_each_expert_is_refused(
    rows: list[tuple[int, int, int]], names: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(BadFile):
        read_routing(parquet(tmp_path / "experts.parquet", rows, names))


def test_counts_of_another_model_are_refused_with_both_shapes() -> None:
    settings = ServerSettings(routing=RoutingSkew(counts=((6, 3, 2, 1),), top_k=2))
    with pytest.raises(BadValue, match=r"1 layers of 4 experts, top 2.*32 layers of 8 experts"):
        server(model("Mixtral-8x7B"), parse_layout("tp"), gpu("H100"), longest=99, setup=settings)
    with pytest.raises(BadValue, match="0 beside counted experts"):
        RoutingSkew(zipf=1.0, counts=((1, 1),))


def test_counts_give_the_busiest_rank_and_the_touched_experts_by_hand() -> None:
    routing = RoutingSkew(counts=((6, 3, 2, 1), (3, 3, 3, 3)), top_k=2)
    assert choice_chances(4, 2, routing).tolist() == [[1, 1 / 2, 1 / 3, 1 / 6], [1 / 2] * 4]
    # Two ranks: 9 of 12 and 6 of 12, over 6 each: 1.5 and 1.
    assert busiest_share(4, 2, 2, routing=routing) == pytest.approx(1.25)
    # Two tokens: 1 + 3/4 + 5/9 + 11/36 in the first layer, 4 · 3/4 in the second.
    assert touched(4, 2, 2, routing=routing) == pytest.approx((94 / 36 + 3) / 2)


@given(
    arrays(np.int64, (3, 8), elements=st.integers(0, 1000)),
    st.integers(1, 8),
    st.sampled_from(["linear", "round_robin"]),
)
def test_ranks_hold_every_expert_once_in_either_placement(
    tokens: np.ndarray, ranks: int, placement: str
) -> None:
    by_rank = rank_tokens(tokens, ranks, placement)
    assert by_rank.shape == (3, ranks)
    assert by_rank.sum(axis=1).tolist() == tokens.sum(axis=1).tolist()
    busy = max_over_mean(by_rank)
    assert all(1 <= each <= ranks + 1e-9 for each in busy[~np.isnan(busy)])


def test_placements_differ_as_vllm_s_do() -> None:
    tokens = np.arange(6)[None]
    assert rank_tokens(tokens, 2).tolist() == [[0 + 1 + 2, 3 + 4 + 5]]
    assert rank_tokens(tokens, 2, "round_robin").tolist() == [[0 + 2 + 4, 1 + 3 + 5]]


def test_a_busier_rank_makes_expert_parallelism_slower_and_tensor_parallelism_not() -> None:
    olmoe = model("OLMoE-1B-7B")
    assert olmoe.experts is not None
    uneven = np.ones((olmoe.experts.layers, olmoe.experts.count), int)
    uneven[:, :8] = 20  # all on the first rank of eight
    even = tuple(map(tuple, np.ones_like(uneven).tolist()))
    skewed = tuple(map(tuple, uneven.tolist()))

    def step_s(layout: str, counts: tuple[tuple[int, ...], ...]) -> float:
        settings = ServerSettings(routing=RoutingSkew(counts=counts))
        parsed = parse_layout(layout)
        built = server(olmoe, parsed, gpu("H100"), longest=4096, setup=settings)
        loads = [prefill_load(1, 4096)] * (parsed.dp if built.step_model.lockstep else 1)
        return float(built.step_model.times(loads, 1).total_s[0])

    assert step_s("dp8+ep", skewed) > 1.5 * step_s("dp8+ep", even)
    assert step_s("tp8", skewed) == pytest.approx(step_s("tp8", even), rel=0.02)
