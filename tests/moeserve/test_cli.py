"""The command line as a user and a script meet it."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from moeserve.cli import main, one_line, repeat_flags
from tests.needs import needs_vllm

SMALL = ["--engine", "simulated", "--strategy", "tp,ep", "--workload", "16:8:6", "-c", "1,4"]


def run(*arguments: str) -> int:
    """Run a command in this process and return its exit code."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def test_the_main_job_prints_its_result_and_nothing_else_on_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("run", *SMALL, "-o", str(tmp_path / "out"), "--format", "json") == 0
    told = capsys.readouterr()
    rows = json.loads(told.out)
    assert [(row["strategy"], row["max_concurrency"]) for row in rows] == [
        ("tp", 1),
        ("tp", 4),
        ("ep", 1),
        ("ep", 4),
    ]
    assert {row["provenance"] for row in rows} == {"simulated"}
    assert "4 of 4 runs valid" in told.err
    assert "simulated" in told.err


def test_the_run_table_is_the_same_in_json_and_csv(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    run("run", *SMALL, "-o", out, "-q")
    capsys.readouterr()
    assert run("results", out, "--format", "json") == 0
    as_json = json.loads(capsys.readouterr().out)
    assert run("results", out, "--format", "csv") == 0
    as_csv = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(as_json) == len(as_csv) == 4
    for one, two in zip(as_json, as_csv, strict=True):
        assert float(two["output_throughput"]) == one["output_throughput"]
        assert two["request_goodput"] == ""
        assert one["request_goodput"] is None


def test_the_contract_s_columns_are_all_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("run", *SMALL, "-o", str(tmp_path / "out"), "-q", "--format", "json")
    (row, *_) = json.loads(capsys.readouterr().out)
    names = """run_id cell_id replicate attempt block started_at verdict verdict_reasons engine
        provenance model strategy tp dp pp ep num_gpus gpu_type technique workload input_len
        output_len num_prompts max_concurrency effective_concurrency request_rate burstiness
        duration completed failed total_input_tokens total_output_tokens request_throughput
        request_goodput output_throughput total_token_throughput
        output_throughput_per_gpu""".split()
    latencies = [
        f"{statistic}_{metric}_ms"
        for metric in ("ttft", "tpot", "itl", "e2el")
        for statistic in ("mean", "median", "std", "p90", "p95", "p99")
    ]
    assert set(names + latencies) <= set(row)


def test_the_request_table_has_its_token_times_in_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    run("run", *SMALL, "-o", out, "-q")
    capsys.readouterr()
    assert run("results", out, "--requests", "--format", "json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 4 * 6
    assert all(len(row["token_times_s"]) == row["output_tokens"] == 8 for row in rows)


def test_verify_is_clean_after_a_run_and_not_after_damage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run("run", *SMALL, "-o", str(out), "-q")
    assert run("verify", str(out)) == 0
    next(out.rglob("*.parquet")).unlink()
    assert run("verify", str(out)) == 2
    assert "is missing" in capsys.readouterr().out


@needs_vllm
def test_a_plan_shows_the_servers_and_starts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--engine", "vllm", "--model", "tiny-olmoe", "--strategy", "ep", "-c", "1"]
    assert run("plan", *flags, "--format", "json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert "--data-parallel-size 2 --enable-expert-parallel" in row["command"]
    assert "--no-enable-prefix-caching" in row["command"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "code", "told"),
    [
        (["--strategy", "hybird"], 2, "Did you mean hybrid"),
        (["--model", "mixtrl"], 2, "Did you mean mixtral"),
        (["--workload", "decode"], 2, "Did you mean decode-heavy"),
        (["--concurrency", "0..8"], 2, "0..8"),
        (["--concurrency", "8..1"], 2, "8..1"),
        (["--concurrency", "x"], 2, "whole numbers"),
        (["--strategy", "tp3"], 2, "16 attention heads are not divisible by tp = 3"),
        (["--engine", "vlm"], 2, "Did you mean vllm"),
        (["--hardware", "A1000"], 2, "A100-80GB"),
        (["--goodput", "ttf:3"], 2, "ttft"),
        (["--num-runs", "0"], 2, "from 1 to 10000"),
        (["--num-prompts", "many"], 2, "auto"),
        (["--burstiness", "x"], 2, "constant"),
        (["--request-rate", "0"], 2, "above 0"),
        (["--server-env", "=x"], 2, "NAME=VALUE"),
        (["missing.yaml"], 2, "no such experiment file"),
        (["--model", "mixtral", "--strategy", "single"], 4, "87.0 GiB"),
        (["-o", "/dev/null/out"], 2, "writable directory"),
    ],
)
def test_bad_input_is_one_line_with_the_way_out_and_leaves_nothing(
    flags: list[str],
    code: int,
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("run", "--engine", "simulated", *flags) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = [each for each in captured.err.splitlines() if each.startswith("moeserve: ")]
    assert told in line
    assert list(tmp_path.iterdir()) == []


def test_a_changed_experiment_in_an_old_directory_is_refused_and_nothing_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run("run", *SMALL, "-o", str(out), "-q")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert run("run", *SMALL, "--seed", "5", "-o", str(out)) == 2
    assert "seed was 0, now 5" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert run("run", *SMALL, "--seed", "5", "-o", str(out), "--fresh", "-q") == 0
    assert (tmp_path / "out.old1" / "runs").is_dir()


def test_the_debug_variable_shows_the_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOESERVE_DEBUG", "1")
    with pytest.raises(LookupError, match="hybird"):
        main(["run", "--strategy", "hybird", "-o", str(tmp_path / "out")])


@pytest.mark.parametrize("command", ["models", "hardware", "strategies", "doctor"])
@pytest.mark.parametrize("output", ["table", "json", "csv"])
def test_the_catalogs_print_in_every_format(
    command: str, output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command, "--format", output) == 0
    text = capsys.readouterr().out
    assert len(json.loads(text) if output == "json" else text.splitlines()) >= 4


def test_vllm_s_several_values_after_one_flag_are_understood() -> None:
    given = ["run", "--goodput", "ttft:200", "tpot:50", "study.yaml", "--seed", "1"]
    repeated = ["run", "--goodput", "ttft:200", "--goodput", "tpot:50", "study.yaml"]
    assert repeat_flags(given) == [*repeated, "--seed", "1"]
    assert repeat_flags(["run", "--goodput", "ttft:1", "--goodput", "tpot:2"]) == [
        *("run", "--goodput", "ttft:1", "--goodput", "tpot:2")
    ]


def test_a_message_never_spans_lines_or_carries_escapes() -> None:
    assert one_line("a\nb\x1b[31m\tc") == "a b [31m c"


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m moeserve models --format csv | head -1"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("model,")
    assert done.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [("run", "--endpoint="), ("run", "--endpoint", ""), ("plan", "-c", " "), ("results", "")],
)
def test_an_empty_argument_is_refused_and_not_taken_for_a_default(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    assert "not empty" in capsys.readouterr().err


def test_an_estimate_searches_nothing_and_says_what_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("estimate", *SMALL, "--find-max", "--goodput", "ttft:200") == 2
    assert "run --engine simulated" in capsys.readouterr().err
