"""Expert load: counted from what servers return, summarised by formulas checked by hand."""

import base64
import io
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from catalog.errors import BadValue, EndpointError
from orchestrator.experiment.experiment import Experiment, ServerOptions
from orchestrator.measure.expert_load import (
    balancer_figures,
    count_tokens,
)
from orchestrator.results.manifests import read_manifests
from orchestrator.study import prepare, run_study
from orchestrator.verify import verify_directory
from perfmodel.expert_balance import balance_figures, gini, rank_tokens

SIMULATED = (sys.executable, "-m", "servers.simulated")
LOG = (
    "(EngineCore) INFO EPLB step: 7 for model x: avg_tokens=10.00, max_tokens=25, "
    "balancedness=0.4000, steps until the next rearrangement: 93\n"
    "INFO something else\n"
    "(EngineCore) INFO EPLB step: 8 for model x: avg_tokens=10.00, max_tokens=15, "
    "balancedness=0.6667, steps until the next rearrangement: 92\n"
    "EPLB step: 9 for model x: avg_tokens=0.00, max_tokens=0, balancedness=0.0000\n"
)


def encoded(array: np.ndarray) -> str:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return base64.b64encode(buffer.getvalue()).decode()


def of_shape(shape: str) -> str:
    """An array whose head says something else than its one byte."""
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    data = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + b"\x01"
    return base64.b64encode(data).decode()


def test_answers_of_different_layers_are_refused() -> None:
    one, two = np.zeros((1, 2, 1), np.uint8), np.zeros((1, 3, 1), np.uint8)
    with pytest.raises(EndpointError, match="3 layers in one answer and 2 in another"):
        count_tokens([encoded(one), encoded(two)], 4)


def test_tokens_are_counted_by_layer_and_expert_over_all_answers() -> None:
    # Two tokens, three layers of which the first is dense (zero rows), top-2 of four experts.
    one = np.array([[[0, 0], [0, 1], [2, 3]], [[0, 0], [0, 2], [2, 1]]], np.uint8)
    two = np.array([[[0, 0], [3, 1], [2, 0]]], np.uint8)
    found = count_tokens([encoded(one), encoded(two)], 4)
    assert found.tolist() == [[2, 2, 1, 1], [1, 1, 3, 1]]


@pytest.mark.parametrize(
    "summary",
    [
        "not base64!",
        base64.b64encode(b"not npy").decode(),
        encoded(np.array([[1, 2]], np.uint8)),
        encoded(np.full((1, 1, 1), 9, np.uint8)),
        encoded(np.full((1, 1, 1), 0.5)),
        encoded(np.full((1, 1, 1), -1, np.int8)),
        encoded(np.zeros((1, 0, 2), np.uint8)),
        encoded(np.zeros((0, 1, 2), np.uint8)),
        of_shape("(1000000, 1000000, 1)"),
        of_shape("(-1, -1, 1)"),
        of_shape("(1, 1)"),
        of_shape("(" + "9" * 30 + ", 1, 1)"),
        of_shape("__import__('os').getcwd()"),
        base64.b64encode(b"PK\x03\x04" + b"x" * 60).decode(),
        base64.b64encode(b"\x93NUMPY\x09\x00" + b"x" * 60).decode(),
        encoded(np.array([[[{"an": "object"}]]], object)),
    ],
)
def test_an_answer_that_is_no_routing_is_refused_and_never_unpickled(summary: str) -> None:
    with pytest.raises(EndpointError):
        count_tokens([summary], 8)


def test_the_figures_of_a_known_load() -> None:
    summary = balance_figures(np.array([[4, 0, 0, 0], [1, 1, 1, 1]]), 2)
    assert summary == {
        "expert_tokens": 8.0,
        "expert_max_over_mean": (4 + 1) / 2,
        "expert_max_over_mean_worst_layer": 4.0,
        "expert_gini": 0.75 / 2,
        "dead_experts": 1.5,
        "rank_max_over_mean": (2 + 1) / 2,
    }
    assert "rank_max_over_mean" not in balance_figures(np.array([[1, 2]]), None)
    assert balance_figures(np.zeros((0, 4), np.int64), 2) == {}


@pytest.mark.slow
@given(arrays(np.int64, st.integers(1, 40), elements=st.integers(0, 10**6)))
def test_gini_is_the_mean_difference_and_does_not_depend_on_scale_or_order(
    load: np.ndarray,
) -> None:
    found = gini(load)
    differences = np.abs(load[:, None] - load[None, :]).mean()
    expected = differences / (2 * load.mean()) if load.sum() else 0.0
    assert found == pytest.approx(expected, abs=1e-12)
    assert gini(load[::-1] * 3) == pytest.approx(found, abs=1e-12)
    assert -1e-12 <= found < 1


@given(st.integers(1, 9), st.integers(1, 40))
def test_every_experts_tokens_lie_on_one_rank(ranks: int, experts: int) -> None:
    tokens = np.arange(2 * experts).reshape(2, experts)
    by_rank = rank_tokens(tokens, ranks)
    assert by_rank.shape == (2, ranks)
    assert by_rank.sum(axis=1).tolist() == tokens.sum(axis=1).tolist()


def test_the_balancers_lines_give_the_busiest_rank_over_the_mean() -> None:
    assert balancer_figures(LOG) == {"eplb_steps": 2.0, "eplb_max_over_mean": 2.0}
    assert balancer_figures("nothing of the kind") == {}


def asked(model: str = "OLMoE-1B-7B", **changes: object) -> Experiment:
    options = ServerOptions(command=SIMULATED, args=("--hardware", "H100"))
    return Experiment(
        models=(model,),
        engine="vllm",
        strategies=("ep",),
        workloads=("16:8:6",),
        concurrency="2",
        expert_load=True,
        server=options,
        **changes,  # type: ignore[arg-type]
    )


@pytest.mark.slow
async def test_expert_load_is_joined_to_its_run(tmp_path: Path) -> None:
    await run_study(await prepare(asked()), tmp_path, listen=lambda _: None)
    (manifest,) = read_manifests(tmp_path)
    summary = manifest.record.extra
    # Six prompts of 16 tokens and 8 more but the last, 16 layers, 8 experts each.
    assert summary["expert_tokens"] == 6 * (16 + 8 - 1) * 16 * 8
    assert 1 < summary["expert_max_over_mean"] < 3
    assert 1 <= summary["rank_max_over_mean"] < 1.5
    table = pq.read_table(tmp_path / "attempts" / f"{manifest.record.run_id}.a1/experts.parquet")
    assert sum(table["tokens"].to_pylist()) == summary["expert_tokens"]
    assert table.num_rows == 16 * 64
    assert verify_directory(tmp_path) == []


async def test_expert_load_needs_a_real_server() -> None:
    with pytest.raises(BadValue, match="--expert-load"):
        await prepare(Experiment(engine="simulated", expert_load=True))
