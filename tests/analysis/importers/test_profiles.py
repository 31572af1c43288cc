"""AIPerf, genai-perf and GuideLLM: phases, windows, chunks, exports with two decimals."""

import json
from pathlib import Path
from typing import Any

import pytest

from analysis.importers import import_files

DATA = Path(__file__).parent / "data"


def profile(**changes: Any) -> Any:
    whole = json.loads((DATA / "aiperf.json").read_text())
    return whole | changes


def with_phases(*phases: Any) -> Any:
    return profile(input_config={"models": {"items": [{"name": "m"}]}, "phases": list(phases)})


@pytest.mark.parametrize("key", ["name", "kind"])
def test_the_load_is_that_of_the_profiling_phase_in_every_version(imported: Any, key: str) -> None:
    warm_up = {key: "warmup", "type": "concurrency", "concurrency": 3}
    measured = {key: "profiling", "type": "concurrency", "concurrency": 128}
    (record,) = imported(with_phases(warm_up, measured))
    assert record.max_concurrency == 128


def test_a_phase_that_is_left_out_of_the_results_gives_no_load(imported: Any) -> None:
    left_out = {"name": "a", "exclude_from_results": True, "concurrency": 3}
    (record,) = imported(with_phases(left_out, {"name": "b", "request_rate": 5.0}))
    assert (record.max_concurrency, record.request_rate) == (None, 5)


@pytest.mark.parametrize(("chunks", "is_itl"), [(8128, True), (8080, True), (4000, False)])
def test_gaps_of_chunks_are_itl_when_nearly_every_chunk_is_a_token(
    imported: Any, chunks: int, is_itl: bool
) -> None:
    document = profile()
    document["inter_chunk_latency"]["count"] = chunks
    (record,) = imported(document)
    assert (record.mean_itl_ms is not None) == is_itl
    assert ("mean_chunk_gap_ms" in record.extra) != is_itl


def test_a_length_that_the_file_does_not_say_is_empty(imported: Any) -> None:
    document = profile()
    del document["input_sequence_length"]
    document["input_config"]["datasets"] = []
    (record,) = imported(document)
    assert (record.input_len, record.output_len, record.workload) == (None, 128, "?:128")


def test_settings_are_labels_and_versions_and_slos_too(imported: Any) -> None:
    document = profile()
    document["input_config"]["endpoint"] = {"extra": {"temperature": 0.5}}
    document["input_config"]["slos"] = {"time_to_first_token": 200}
    (record,) = imported(document)
    assert record.extra["client_version"] == "0.13.0"
    assert record.extra["endpoint_extra_temperature"] == 0.5
    assert record.extra["slos_time_to_first_token"] == 200


CSV = """Metric,avg,min,max,sum,p50,p90,p95,p99,std
Inter Chunk Latency (ms),2.04,0.00,32.47,16560.26,1.99,3.54,4.60,8.49,1.77
Inter Token Latency (ms),2.04,1.77,2.21,130.40,2.04,2.10,2.12,2.18,0.06
Input Sequence Length (tokens),128.00,128.00,128.00,8192.00,128.00,128.00,128.00,128.00,0.00
Output Sequence Length (tokens),128.00,128.00,128.00,8192.00,128.00,128.00,128.00,128.00,0.00
Request Latency (ms),286.44,274.73,304.63,18332.22,286.34,292.38,297.98,303.89,6.33
Time to First Token (ms),27.69,20.73,54.09,1771.95,25.61,34.78,37.79,44.73,5.99

Metric,Value
Benchmark Duration (sec),2.49
Output Token Throughput (tokens/sec),3276.16
Request Count,64.00
Request Throughput (requests/sec),25.59
Total Output Tokens (tokens),8192.00

Endpoint,GPU_Index,GPU_Name,Metric,avg
"""


def test_the_csv_export_reads_as_the_json_does(imported: Any) -> None:
    (record,) = imported(CSV, "profile_export_aiperf.csv")
    assert (record.output_throughput, record.mean_ttft_ms, record.completed) == (3276.16, 27.69, 64)
    assert (record.mean_itl_ms, record.p99_e2el_ms, record.output_len) == (2.04, 303.89, 128)


def test_the_csv_beside_its_json_is_no_second_run(written: Any, tmp_path: Path) -> None:
    written(CSV, "exp/profile_export_aiperf.csv")
    written(profile(), "exp/profile_export_aiperf.json")
    found = import_files([tmp_path / "exp"], tmp_path / "out")
    assert [record.mean_ttft_ms for record in found.records] == [pytest.approx(27.686781656)]
    assert [skipped.path.suffix for skipped in found.skipped] == [".csv"]


def test_genai_perf_nests_the_same_tags(imported: Any) -> None:
    document = profile()
    config = {"model": ["m"], "perf_analyzer": {"stimulus": {"concurrency": 9}}}
    tags = {k: v for k, v in document.items() if isinstance(v, dict) and "avg" in v}
    (record,) = imported({"records": tags, "input_config": config}, "x_genai_perf.json")
    assert (record.model, record.max_concurrency, record.extra["tool"]) == ("m", 9, "genai-perf")
    assert record.mean_ttft_ms == pytest.approx(27.686781656)


def benchmark(
    window: tuple[float, ...] = (0.0, 100.0, 100.0),
    edges: tuple[float, ...] = (0.0, 0.0),
    incomplete: int = 0,
    **config: Any,
) -> dict[str, Any]:
    """Four streams, 200 tokens in each 4 s: 200 tokens/s by GuideLLM's own integral."""
    start, end, last = window
    return {
        "metadata": {"guidellm_version": "0.5.0"},
        "benchmarks": [
            {
                "duration": end - start, "warmup_duration": edges[0], "cooldown_duration": edges[1],
                "config": {"backend": {"model": "m"}, "strategy": {"streams": 4}, **config},
                "scheduler_metrics": {
                    "measure_start_time": start, "measure_end_time": end, "request_end_time": last,
                },
                "metrics": {
                    "request_totals": {
                        "successful": 100, "errored": 0, "incomplete": incomplete,
                        "total": 100 + incomplete,
                    },
                    "prompt_token_count": {"successful": {"mean": 128, "total_sum": 12_800}},
                    "output_token_count": {
                        "successful": {"mean": 200, "total_sum": 20_000, "std_dev": 0},
                    },
                    "output_tokens_per_second": {"successful": {"mean": 200.5}},
                    "request_latency": {"successful": {"mean": 4.0}},
                },
            }
        ],
    }  # fmt: skip


def test_a_window_without_edges_divides_tokens_by_its_seconds(imported: Any) -> None:
    (record,) = imported(benchmark())
    assert (record.output_throughput, record.duration, record.verdict) == (200, 100, "valid")


def test_a_window_that_cuts_requests_takes_the_integral_and_ends_with_the_last_request(
    imported: Any,
) -> None:
    (record,) = imported(benchmark(window=(50.0, 350.0, 150.0), edges=(50.0, -200.0)))
    assert (record.output_throughput, record.duration) == (200.5, 100)
    assert record.request_throughput == 1.0
    assert record.extra["tool_duration"] == 300


def test_requests_in_flight_when_the_time_ended_are_a_normal_end(imported: Any) -> None:
    (record,) = imported(benchmark(incomplete=4))
    assert (record.verdict, record.output_throughput) == ("valid", 200.5)
    (stopped,) = imported(benchmark(incomplete=40), "w.json")
    assert stopped.verdict == "interrupted"
    limit = {"max_duration": {"args": {"count": 100}}}
    (limited,) = imported(benchmark(incomplete=40, constraints=limit), "x.json")
    assert limited.verdict == "valid"


def test_tokens_of_unfinished_requests_leave_the_total_empty_where_it_would_not_fit(
    imported: Any,
) -> None:
    document = benchmark(incomplete=4)
    metrics = document["benchmarks"][0]["metrics"]
    metrics["output_tokens_per_second"]["successful"]["mean"] = 210.0
    (record,) = imported(document)
    assert (record.output_throughput, record.total_token_throughput) == (210, None)
