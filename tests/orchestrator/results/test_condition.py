"""What makes two rows different conditions: one module, the same for every kind of row."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadValue
from orchestrator.results.condition import belongs, label_of_file, with_configuration
from orchestrator.results.quantities import is_higher_better, measure_of, role_of
from orchestrator.results.record import COLUMNS, ColumnValue
from orchestrator.table import run_rows

GOLDEN = Path(__file__).with_name("golden")
ROW: dict[str, ColumnValue] = {
    "run_id": "a", "replicate": 0, "block": 0, "started_at": "2026-01-01T00:00:00",
    "model": "m", "strategy": "tp", "gpu_type": "H100", "num_gpus": 2, "engine": "vllm",
    "engine_version": "0.25", "workload": "io", "max_concurrency": 8,
    "output_throughput": 100.5, "mean_ttft_ms": 12.5, "verdict": "valid",
}  # fmt: skip


def configurations(*rows: dict[str, ColumnValue]) -> list[ColumnValue]:
    return [row["configuration"] for row in with_configuration(rows)]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("gpu_type", "A100-80GB"), ("num_gpus", 4), ("engine", "sglang"), ("strategy", "ep"),
        ("engine_version", "0.26"), ("server_args", "--max-num-seqs 8"), ("tool", "sglang"),
        ("server_env", "A=1"), ("max_concurrency", 16), ("technique", "fp8"), ("tag", "pd_intra"),
        ("framework", "sgl"), ("max_num_seqs", 8), ("chunked", True), ("source", "tp4_a.json"),
        ("gpu_type", ""), ("endpoint", "http://b"),
    ],
)  # fmt: skip
def test_whatever_is_no_measurement_number_or_time_makes_another_condition(
    column: str, value: ColumnValue
) -> None:
    first, second = configurations(ROW, {**ROW, column: value})
    assert first != second


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("run_id", "b"), ("replicate", 1), ("block", 3), ("started_at", "2027"), ("seed", 7),
        ("output_throughput", 99.0), ("mean_ttft_ms", 1.0), ("verdict", "invalid"),
        ("peak_gpu_memory_bytes", 5), ("server_group", "x"), ("completed", 3),
        ("technique", "none"), ("num_gpus", 2.0),
    ],
)  # fmt: skip
def test_measurements_numbers_of_replicates_and_times_make_none(
    column: str, value: ColumnValue
) -> None:
    first, second = configurations(ROW, {**ROW, column: value})
    assert first == second


def test_a_node_is_no_condition_and_company_on_it_is_one() -> None:
    alone = ROW | {"nodes": "n1", "co_located_groups": 0, "node_shared": "no"}
    elsewhere = alone | {"nodes": "n2"}
    beside_two = elsewhere | {"co_located_groups": 2, "node_shared": "yes"}
    beside_one = beside_two | {"co_located_groups": 1, "nodes": "n3"}
    first, second, third, fourth = configurations(alone, elsewhere, beside_two, beside_one)
    assert first == second != third == fourth


def test_the_words_name_what_is_known_and_a_layout_once() -> None:
    (row,) = with_configuration([{**ROW, "tp": 2, "dp": 1, "framework": "sgl"}])
    assert row["configuration_text"] == (
        "m, tp, 2 GPUs, H100, vllm, version 0.25, io, concurrency 8, framework sgl"
    )


@given(st.permutations(list(ROW)))
def test_the_order_of_columns_changes_nothing(names: Sequence[str]) -> None:
    assert configurations({name: ROW[name] for name in names}) == configurations(ROW)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("vllm-inf-20260102-101112.json", "vllm-inf"),
        ("tp4_run3.json", "tp4"),
        ("tp8_conc64.json", "tp8_conc64"),
        ("stage_0_lifecycle_metrics.json", "lifecycle_metrics"),
        ("2026-01-02T10:11:12Z_h100.jsonl", "h100"),
    ],
)
def test_of_a_files_name_the_time_and_the_number_of_a_repeat_are_no_label(
    name: str, label: str
) -> None:
    assert label_of_file(name) == label


def test_a_column_nobody_knows_is_judged_by_what_it_holds() -> None:
    assert belongs("knob", ["a", "b"])
    assert belongs("knob", [4, 8])
    assert belongs("knob", [0.9, 0.9, 0.95, 0.95])
    assert not belongs("knob", [0.91, 0.92, 0.97, 0.13])
    assert not belongs("knob", [None, "", float("nan")])


@pytest.mark.parametrize("name", COLUMNS)
def test_every_column_of_the_run_table_has_a_role(name: str) -> None:
    assert role_of(name) is not None


@pytest.mark.parametrize(
    ("name", "higher"),
    [
        ("output_throughput", True), ("request_goodput", True), ("token_agreement", True),
        ("slo_attainment", True), ("p99_ttft_ms", False), ("duration", False), ("failed", False),
        ("perplexity", False), ("kl_divergence", False), ("peak_gpu_memory_bytes", False),
        ("usd_per_million_output_tokens", False), ("joules_per_output_token", False),
        ("latency_s", False), ("gpu_memory_mib", False),
    ],
)  # fmt: skip
def test_throughput_latency_price_memory_and_perplexity_have_their_directions(
    name: str, higher: bool
) -> None:
    assert is_higher_better(name) is higher


@pytest.mark.parametrize("name", ["effective_concurrency", "preemptions", "speed"])
def test_a_column_without_a_known_direction_is_refused_until_told(name: str) -> None:
    with pytest.raises(BadValue, match="--better"):
        is_higher_better(name)
    assert is_higher_better(name, "higher")


def test_units_and_scales_stand_beside_the_directions() -> None:
    ttft, share = measure_of("mean_ttft_ms"), measure_of("slo_attainment")
    assert ttft is not None
    assert share is not None
    assert (ttft.unit, ttft.scale, share.scale) == ("ms", "ratio", "additive")


def test_rows_of_old_results_get_what_is_written_beside_them() -> None:
    rows = [row for row in run_rows(GOLDEN / "v1") if row["verdict"] == "valid"]
    assert len({row["configuration"] for row in rows}) == 2
    assert {row["engine_version"] for row in rows} == {"a100-vllm"}
    for row in rows:
        assert str(row["configuration_text"]).startswith(f"Mixtral-8x7B, {row['strategy']}, 2 GPUs")
