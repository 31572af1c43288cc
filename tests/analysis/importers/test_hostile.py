"""Broken and hostile files: read or refused in one line, never a traceback."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.importers import import_files
from analysis.importers.record import record_of
from analysis.importers.sources import results_of
from catalog.errors import InputError
from moeserve.cli import main
from orchestrator.table import run_rows
from tests.analysis.importers.shapes import (
    AGENTIC,
    INFERENCEX,
    LLMPERF,
    SGLANG,
    STAGE,
    TRTLLM,
    VLLM,
)

DATA = Path(__file__).parent / "data"
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@pytest.mark.slow
@settings(max_examples=50)
@given(st.sampled_from([VLLM, SGLANG, STAGE]), st.dictionaries(st.text(max_size=12), VALUES))
def test_whatever_else_a_file_holds_it_becomes_a_row_that_can_be_read_back(
    tmp_path_factory: pytest.TempPathFactory, shape: Any, more: Any
) -> None:
    folder = tmp_path_factory.mktemp("more")
    path = folder / "x.json"
    foreign = {f"x {key}": value for key, value in more.items()}
    path.write_text(json.dumps(foreign | shape))
    (record,) = import_files([path], folder / "out").records
    (row,) = run_rows(folder / "out")
    assert row["output_throughput"] == record.output_throughput
    assert all("\n" not in value for value in record.extra.values() if isinstance(value, str))


@pytest.mark.slow
@settings(max_examples=50)
@given(st.sampled_from([VLLM, SGLANG, STAGE]), st.data())
def test_a_damaged_value_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, shape: Any, data: Any
) -> None:
    key = data.draw(st.sampled_from(sorted(shape)))
    folder = tmp_path_factory.mktemp("damage")
    path = folder / "x.json"
    path.write_text(json.dumps(shape | {key: data.draw(VALUES)}))
    try:
        import_files([path], folder / "out")
    except InputError as refused:
        assert "\n" not in str(refused)
        assert not (folder / "out").exists()


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a nested object."""
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    found = [path] if path else []
    return found + [place for key in keys for place in places(value[key], (*path, key))]


SHAPES = [
    json.loads((DATA / name).read_text().splitlines()[0])
    for name in ("guidellm.json", "aiperf.json", "inference_perf_stage.json", "sglang.jsonl")
] + [SGLANG, INFERENCEX, AGENTIC, LLMPERF, TRTLLM]


@pytest.mark.slow
@settings(max_examples=200)
@given(st.sampled_from(SHAPES), st.data())
def test_damage_at_any_depth_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, shape: Any, data: Any
) -> None:
    whole = json.loads(json.dumps(shape))
    *way, last = data.draw(st.sampled_from(places(whole)))
    target = whole
    for key in way:
        target = target[key]
    target[last] = data.draw(VALUES)
    path = tmp_path_factory.mktemp("deep") / "x.json"
    path.write_text(json.dumps(whole))
    try:
        for run in results_of(path):
            record_of(run, {})
    except InputError as refused:
        assert "\n" not in str(refused)


def test_secrets_in_a_file_are_not_carried_on(tmp_path: Path) -> None:
    secret = "sk-" + "a" * 30
    more = {"api_key": "hush", "extra_headers": {"Authorization": "hush"}, "hf_token": "hush",
            "command": f"serve --key {secret}", "first_token_limit": 3}  # fmt: skip
    path = tmp_path / "x.json"
    path.write_text(json.dumps(VLLM | more))
    (record,) = import_files([path], tmp_path / "out").records
    kept = " ".join(map(str, record.extra.values()))
    assert "hush" not in kept
    assert secret not in kept
    assert record.extra["first_token_limit"] == 3


@settings(max_examples=60)
@given(st.binary(max_size=300), st.sampled_from(["x.json", "x.jsonl", "x.csv", "x.txt"]))
def test_any_bytes_are_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    path = tmp_path_factory.mktemp("bytes") / name
    path.write_bytes(content)
    with pytest.raises(InputError) as refused:
        results_of(path)
    assert "\n" not in str(refused.value)


@settings(max_examples=40)
@given(st.text(max_size=200))
def test_any_text_around_a_printed_summary_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("text") / "x.txt"
    title = "==== Serving Benchmark Result ====\nSuccessful requests: 5\n"
    path.write_text(text + title + text, errors="surrogatepass")
    try:
        results_of(path)
    except InputError as refused:
        assert "\n" not in str(refused)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("1" * 5000, "not valid JSON"),
        (json.dumps(VLLM).replace("10.0", "1e999"), ""),
        (json.dumps(VLLM | {"completed": 10**400}), "larger than can be computed"),
        (json.dumps(VLLM | {"completed": 10**17}), "too large for a count"),
        ('{"benchmarks": [], "metadata": {"guidellm_version": "0.6"}}', "without a figure"),
        ('[{"build_commit": "a", "n_prompt": 512, "avg_ts": 50.0}]', "llama-bench: single"),
        ('{"elapsed_time": 1.0, "num_requests": 9, "tokens_per_second": 5.0}', "bench throughput"),
        ("version: '0.1'\nmetrics: {}\n", "is not a file that is read: JSON"),
        ('{"benchmark": 1}', "columns of docs/columns.md"),
        (json.dumps(LLMPERF | {"results_number_output_tokens_mean": 1e308}), "too large for a"),
        (json.dumps(STAGE).replace("200.0", "1e308"), "too large for a count"),
        (json.dumps(VLLM | {"duration": -4}), "below zero"),
        (json.dumps(VLLM | {"duration": "fast"}), "not a number"),
        ('{"model_id": "m", "backend": "vllm", "num_prompts": 3}', "did not finish"),
        ('{"avg_latency": 3, "latencies": [1], "percentiles": {}}', "vllm bench latency"),
        ("GPU,tput\nH100,4\n", "--column"),
        ('[{"error_code": null, "ttft_s": 1, "end_to_end_latency_s": 2,'
         ' "number_output_tokens": 3}]', "_summary.json"),
    ],
)  # fmt: skip
def test_what_is_no_result_is_told_in_one_line_with_the_way_out(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str, problem: str
) -> None:
    path = tmp_path / ("own.csv" if content.startswith("GPU") else "x.json")
    path.write_text(content)
    with pytest.raises(SystemExit) as ended:
        main(["import", str(path), "-o", str(tmp_path / "out")])
    assert ended.value.code == (2 if problem else 0)
    said = capsys.readouterr().err.strip().splitlines()
    if not problem:
        return
    assert len(said) == 1
    assert problem in said[0]
    assert not (tmp_path / "out").exists()
