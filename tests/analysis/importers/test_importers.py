"""Result files the tools themselves wrote: units, definitions, and damaged files."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.data.frame import load
from analysis.importers import Labels, import_files
from analysis.importers.files import results_of
from analysis.importers.record import record_of
from catalog.errors import BadFile, InputError
from orchestrator.results.record import RunRecord
from orchestrator.verify import verify_directory

DATA = Path(__file__).parent / "data"
NAMES = (
    "vllm_bench.json", "vllm_bench_rust.json", "sglang.jsonl", "guidellm.json", "aiperf.json",
    "inference_perf_stage.json",
)  # fmt: skip


def only(path: Path, tmp_path: Path, **labels: Any) -> RunRecord:
    return import_files([path], tmp_path / "out", Labels(**labels)).records[0]


def written(tmp_path: Path, document: Any, name: str = "v.json") -> Path:
    path = tmp_path / name
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("name", NAMES)
def test_every_tool_measured_the_same_server_alike(tmp_path: Path, name: str) -> None:
    """The server answered in 20 ms and then a token every 2 ms (the Rust clients: 5 ms)."""
    record = only(DATA / name, tmp_path)
    gap = 5.0 if name in {"vllm_bench_rust.json", "sglang.jsonl"} else 2.0
    assert record.provenance == "imported"
    assert record.verdict == "valid"
    assert record.output_len == 128
    assert record.mean_tpot_ms == pytest.approx(gap, rel=0.03)
    assert record.mean_itl_ms == pytest.approx(gap, rel=0.03)
    assert 20 <= record.mean_ttft_ms <= 28
    assert record.mean_e2el_ms == pytest.approx(record.mean_ttft_ms + 127 * gap, rel=0.03)
    rate = record.total_output_tokens / record.duration
    assert record.output_throughput == pytest.approx(rate, rel=0.01)
    assert record.max_concurrency in {4, 8}
    assert record.request_rate is None


def test_what_a_tool_did_not_measure_is_empty_and_not_zero(tmp_path: Path) -> None:
    plain = only(DATA / "vllm_bench.json", tmp_path)
    assert plain.request_goodput is None
    assert plain.p90_ttft_ms is None
    assert plain.effective_concurrency is None
    assert (plain.tp, plain.num_gpus, plain.output_throughput_per_gpu) == (None, None, None)
    assert only(DATA / "inference_perf_stage.json", tmp_path).std_ttft_ms is None


def test_guidellms_time_per_output_token_is_not_our_tpot(tmp_path: Path) -> None:
    """It counts the first token: 2.17 ms here, where the gaps are 1.99 ms."""
    record = only(DATA / "guidellm.json", tmp_path)
    assert record.mean_tpot_ms == pytest.approx(1.98875, abs=1e-4)
    assert record.p99_itl_ms is None


def test_guidellms_weighted_percentiles_are_left_out_when_lengths_differ(tmp_path: Path) -> None:
    document = json.loads((DATA / "guidellm.json").read_text())
    document["benchmarks"][0]["metrics"]["output_token_count"]["successful"]["std_dev"] = 5.0
    record = only(written(tmp_path, document), tmp_path)
    assert record.mean_tpot_ms is None
    assert record.mean_itl_ms == pytest.approx(1.98875, abs=1e-4)


def test_gaps_between_chunks_of_several_tokens_are_not_called_itl(tmp_path: Path) -> None:
    document = json.loads((DATA / "vllm_bench.json").read_text())
    document["mean_itl_ms"] *= 3
    record = only(written(tmp_path, document), tmp_path)
    assert record.mean_itl_ms is None
    assert record.mean_tpot_ms == pytest.approx(2.0, rel=0.01)
    assert record.extra["mean_chunk_gap_ms"] == pytest.approx(6.0, rel=0.01)


def detailed(requests: int = 4, tokens: int = 5, gap: float = 0.01) -> dict[str, Any]:
    """A detailed file with exact times: sent every 0.1 s, first token after 0.05 s."""
    return {
        "model_id": "m", "backend": "vllm", "date": "20260101-000000", "num_prompts": requests,
        "request_rate": 10.0, "burstiness": 1.0, "max_concurrency": None, "duration": 0.5,
        "completed": requests, "failed": 0, "total_token_throughput": 1.0,
        "start_times": [100 + 0.1 * i for i in range(requests)],
        "queue_times": [0.02] * requests,
        "ttfts": [0.05] * requests, "itls": [[gap] * (tokens - 1)] * requests,
        "input_lens": [7] * requests, "output_lens": [tokens] * requests, "errors": [""] * requests,
    }  # fmt: skip


def test_a_detailed_file_is_recomputed_from_its_requests(tmp_path: Path) -> None:
    record = only(written(tmp_path, detailed()), tmp_path)
    assert record.mean_itl_ms == pytest.approx(10.0)
    assert record.mean_ttft_ms == pytest.approx(70.0)  # from when it was due: 20 ms in the queue
    assert record.extra["mean_ttft_from_send_ms"] == pytest.approx(50.0)
    assert record.duration == pytest.approx(0.3 + 0.05 + 4 * 0.01)
    assert record.output_throughput == pytest.approx(20 / 0.39)
    assert verify_directory(tmp_path / "out") == []


def test_a_failed_request_of_a_detailed_file_counts_as_failed(tmp_path: Path) -> None:
    document = detailed()
    document["errors"][1] = "Traceback\nTimeoutError: x"
    document["ttfts"][1], document["itls"][1], document["output_lens"][1] = 0.0, [], 0
    record = only(written(tmp_path, document), tmp_path)
    assert (record.completed, record.failed, record.verdict) == (3, 1, "invalid")
    assert record.verdict_reasons == "ERRORS"


def test_arrays_of_different_lengths_are_refused(tmp_path: Path) -> None:
    document = detailed() | {"ttfts": [0.05]}
    with pytest.raises(BadFile, match="have different lengths"):
        only(written(tmp_path, document), tmp_path)


def test_a_sweep_gives_layouts_and_replicates(tmp_path: Path) -> None:
    base = json.loads((DATA / "vllm_bench.json").read_text())
    for number in range(3):
        folder = tmp_path / "exp" / "SERVE--tensor_parallel_size=4-BENCH--max_concurrency=8"
        folder.mkdir(parents=True, exist_ok=True)
        run = base | {"run_number": number, "tensor_parallel_size": 4, "duration": 2.0 + number}
        (folder / f"run={number}.json").write_text(json.dumps(run))
    (tmp_path / "exp" / "summary.json").write_text(json.dumps([base]))
    (tmp_path / "exp" / "x.failure.json").write_text(json.dumps({"error": "no"}))
    found = import_files([tmp_path / "exp"], tmp_path / "out")
    assert [r.replicate for r in found.records] == [0, 1, 2]
    assert {r.strategy for r in found.records} == {"tp4"}
    assert {r.num_gpus for r in found.records} == {4}
    assert [skipped.path.name for skipped in found.skipped] == ["summary.json", "x.failure.json"]


INFERENCEX = {
    "hw": "h200", "conc": 16, "model": "m", "framework": "vllm", "precision": "fp8", "isl": 1024,
    "osl": 512, "tp": 8, "ep": 8, "dp_attention": "true", "tput_per_gpu": 300.0,
    "output_tput_per_gpu": 100.0, "mean_ttft": 0.2, "p99_ttft": 0.5, "mean_tpot": 0.01,
    "mean_itl": 0.01, "mean_e2el": 5.2, "mean_intvty": 100.0,
}  # fmt: skip


def test_inferencex_is_in_seconds_and_per_gpu(tmp_path: Path) -> None:
    record = only(written(tmp_path, INFERENCEX), tmp_path)
    assert (record.strategy, record.num_gpus, record.gpu_type) == ("dp8+ep", 8, "h200")
    assert record.output_throughput == pytest.approx(800.0)
    assert record.total_token_throughput == pytest.approx(2400.0)
    assert (record.mean_ttft_ms, record.p99_ttft_ms) == pytest.approx((200.0, 500.0))
    assert record.duration is None
    plain = INFERENCEX | {"dp_attention": False, "ep": 1}
    assert only(written(tmp_path, plain, "w.json"), tmp_path).strategy == "tp8"


def test_labels_of_the_user_fill_in_what_files_do_not_say(tmp_path: Path) -> None:
    names = {"model": "OLMoE-1B-7B", "strategy": "hybrid", "workload": "w", "gpu_type": "A100"}
    record = only(DATA / "vllm_bench.json", tmp_path, **names)
    assert (record.model, record.strategy, record.num_gpus) == ("OLMoE-1B-7B", "tp+ep", 4)
    expected = record.output_throughput / 4
    assert record.output_throughput_per_gpu == pytest.approx(expected)


def test_importing_twice_adds_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        import_files([DATA / name for name in NAMES], tmp_path / "out")
    frame = load(tmp_path / "out")
    assert len(frame) == len(NAMES)
    assert set(frame["provenance"]) == {"imported"}


def test_aiperf_units_are_checked_and_stopped_runs_marked(tmp_path: Path) -> None:
    document = json.loads((DATA / "aiperf.json").read_text())
    document["request_latency"]["unit"] = "sec"
    with pytest.raises(BadFile, match="request_latency is in sec, known is ms"):
        only(written(tmp_path, document), tmp_path)
    stopped = json.loads((DATA / "aiperf.json").read_text()) | {"was_cancelled": True}
    record = only(written(tmp_path, stopped), tmp_path)
    assert (record.verdict, record.verdict_reasons) == ("interrupted", "INCOMPLETE")
    with pytest.raises(BadFile, match=r"give profile_export_aiperf\.json"):
        only(DATA / "aiperf_records.jsonl", tmp_path)


def test_a_truncated_file_is_refused_with_its_place(tmp_path: Path) -> None:
    text = (DATA / "vllm_bench_rust.json").read_text()
    path = tmp_path / "v.json"
    path.write_text(text[: len(text) // 2])
    with pytest.raises(BadFile, match=r"v\.json: not valid JSON at line 1, column \d+"):
        list(results_of(path))
    lines = tmp_path / "s.jsonl"
    good = (DATA / "sglang.jsonl").read_text().strip()
    lines.write_text(f"{good}\n{good[:100]}\n")
    with pytest.raises(BadFile, match=r"s\.jsonl: not valid JSON at line 2"):
        list(results_of(lines))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("[1, 2]", "element 1 is no JSON object"),
        ("{}", "none of the known formats"),
        ('"text"', "the file is no JSON object"),
        ("[" * 100_000, "line 1|nested too deep"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(BadFile, match=problem):
        list(results_of(path))


def test_nothing_is_written_when_one_file_is_bad(tmp_path: Path) -> None:
    bad = tmp_path / "x.json"
    bad.write_text("{")
    with pytest.raises(BadFile):
        import_files([DATA / "vllm_bench.json", bad], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "path", "value", "problem"),
    [
        ("guidellm.json", "duration", 1e-308, "in a duration of 1e-308 s is no rate"),
        ("guidellm.json", "duration", 10**400, "larger than can be computed with"),
        ("guidellm.json", "metrics.request_latency.successful.mean", 1e307, "larger than can be"),
        ("vllm_bench.json", "completed", 10**400, "larger than can be computed with"),
    ],
)
def test_numbers_that_leave_the_range_of_a_float_are_refused(
    tmp_path: Path, name: str, path: str, value: float, problem: str
) -> None:
    document = json.loads((DATA / name).read_text())
    target = document["benchmarks"][0] if "benchmarks" in document else document
    *parts, last = path.split(".")
    for part in parts:
        target = target[part]
    target[last] = value
    with pytest.raises(BadFile, match=problem):
        list(results_of(written(tmp_path, document)))


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(NAMES), st.data())
def test_any_damage_to_a_value_is_read_or_refused_but_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: Any
) -> None:
    document = json.loads((DATA / name).read_text().strip())
    target = document["benchmarks"][0] if "benchmarks" in document else document
    key = data.draw(st.sampled_from(sorted(target)))
    target[key] = data.draw(VALUES)
    path = tmp_path_factory.mktemp("damage") / "x.json"
    path.write_text(json.dumps(document))
    try:
        records = [record_of(result, {}) for result in results_of(path)]
    except InputError as refused:
        problem = str(refused)
    else:
        problem = ""
        numbers = [v for r in records for v in msgspec.structs.asdict(r).values()]
        assert np.isfinite([v for v in numbers if isinstance(v, float)]).all()
    assert "\n" not in problem
