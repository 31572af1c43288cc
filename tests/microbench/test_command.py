"""`moeserve microbench experts` as a user meets it."""

import contextlib
import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from catalog.errors import RunFailed
from moeserve.cli import main
from tests.machine import limit, until

CONTRACT = (
    "backend", "device", "dtype", "batch", "hidden", "intermediate", "experts", "active_experts",
    "top_k", "mean_ms", "median_ms", "p99_ms", "std_ms", "tokens_per_s", "weight_bytes",
    "achieved_gb_per_s", "achieved_gflop_per_s",
)  # fmt: skip
SMALL = [
    *("microbench", "experts", "--device", "cpu", "--threads", "1", "--hidden", "64"),
    *("--experts", "4", "--active-experts", "2,4", "--top-k", "2", "--batch", "8"),
]


@dataclass
class Ran:
    """What one sweep printed and wrote."""

    rows: list[dict[str, object]]
    err: str
    folder: Path


real = pytest.mark.slow  # the sweep of the fixture: three processes that import torch


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    pytest.importorskip("torch", reason="moeserve[hf] brings it")
    folder = tmp_path_factory.mktemp("microbench") / "out"
    command = [sys.executable, "-m", "moeserve", *SMALL, "--width", "64,128"]
    command += ["--backend", "loop,grouped", "--processes", "2", "--format", "json"]
    done = subprocess.run(
        [*command, "-o", str(folder)],
        capture_output=True,
        text=True,
        timeout=limit(240),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Ran(json.loads(done.stdout), done.stderr, folder)


@real
def test_each_backend_and_point_is_a_row_with_the_promised_columns(ran: Ran) -> None:
    shapes = {(row["backend"], row["intermediate"], row["active_experts"]) for row in ran.rows}
    assert len(shapes) == len(ran.rows) == 2 * 2 * 2
    for row in ran.rows:
        assert set(CONTRACT) <= set(row)
        assert all(row[name] is not None for name in CONTRACT)


@real
def test_the_columns_follow_from_one_another(ran: Ran) -> None:
    for row in ran.rows:
        median_s = float(str(row["median_ms"])) / 1e3
        weight_bytes = int(str(row["active_experts"])) * 3 * 64 * int(str(row["intermediate"])) * 4
        assert row["weight_bytes"] == weight_bytes
        assert row["tokens_per_s"] == pytest.approx(8 / median_s)
        assert row["achieved_gb_per_s"] == pytest.approx(weight_bytes / median_s / 1e9)
        flops = 2 * 8 * 2 * 3 * 64 * int(str(row["intermediate"]))
        assert row["achieved_gflop_per_s"] == pytest.approx(flops / median_s / 1e9)
        assert row["samples"] == 100
        assert row["provenance"] == "measured"


@real
def test_agreement_is_checked_against_the_loop(ran: Ran) -> None:
    for row in ran.rows:
        assert (row["disagreement"] is None) == (row["backend"] == "loop")
        assert float(str(row["disagreement"] or 0)) < 1e-4


@real
def test_everything_is_written_and_the_ceilings_with_it(ran: Ran) -> None:
    result = json.loads((ran.folder / "result.json").read_text())
    assert len(result["rows"]) == len(ran.rows)
    assert [len(each) for each in result["ceilings"].values()] == [4]  # two processes, two each
    assert result["constants"] is None
    assert (ran.folder / "points.csv").exists()


@real
def test_what_was_measured_and_what_it_is_worth_stands_on_standard_error(ran: Ran) -> None:
    assert "4 points × loop, grouped" in ran.err
    assert "ceilings, float32" in ran.err
    assert "finding 1" in ran.err
    assert "measured on a CPU" in ran.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--active-experts", "32", "--experts", "16"], 2, "the 16 experts"),
        (["--top-k", "9", "--active-experts", "8"], 2, "8 active experts"),
        (["--dtype", "float23"], 2, "float32"),
        (["--backend", "vlm"], 2, "vllm"),
        (["--batch", "eight"], 2, "--batch"),
        (["--routing", "zip"], 2, "zipf"),
        (["--zipf", "1.2"], 2, "only with --routing zipf"),
        (["--device", "gpu"], 2, "cpu"),
        (["--processes", "0"], 2, "1 to 64"),
        (["--hidden", "65536", "--width", "65536", "--experts", "512"], 4, "GB is free"),
        (["--backend", "loop", "-o", "/proc/none"], 2, "can be written"),
    ],
)
def test_bad_input_is_one_line_with_the_way_out(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="moeserve[hf] brings it")
    assert run("microbench", "experts", "--device", "cpu", *arguments) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.strip().splitlines()) == 1
    assert words in told.err


def test_a_missing_library_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("microbench.study.find_spec", lambda _: None)
    assert run("microbench", "experts") == 2
    assert "moeserve[hf]" in capsys.readouterr().err


def test_a_missing_vllm_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="moeserve[hf] brings it")
    monkeypatch.setattr("microbench.backends.find_spec", lambda _: None)
    assert run("microbench", "experts", "--backend", "vllm") == 2
    assert "moeserve[vllm]" in capsys.readouterr().err


@real
def test_a_process_that_dies_is_reported_with_the_end_of_its_log() -> None:
    pytest.importorskip("torch", reason="moeserve[hf] brings it")
    import msgspec

    from microbench.grid import SweepGrid
    from microbench.session import run_processes
    from microbench.study import SweepOptions, plan

    grid = SweepGrid(hidden=(32,), intermediate=(32,), experts=(2,), batch=(4,))
    job = plan(SweepOptions(device="cpu", grid=grid, backends=("loop",))).job
    elsewhere = msgspec.structs.replace(job.device, device="cuda:63")
    with pytest.raises(RunFailed, match=r"(?i)cuda"):
        run_processes(msgspec.structs.replace(job, device=elsewhere), 1, lambda *_: None)


def workers(of: int) -> list[psutil.Process]:
    found = []
    for process in psutil.Process(of).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "microbench.worker" in process.cmdline():
                found.append(process)
    return found


@pytest.mark.slow  # measures for a few seconds before it is interrupted
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_nothing_is_left_of_an_interrupted_sweep(number: signal.Signals, code: int) -> None:
    pytest.importorskip("torch", reason="moeserve[hf] brings it")
    command = [sys.executable, "-m", "moeserve", *SMALL, "--width", "64..512", "--samples", "9000"]
    with subprocess.Popen(
        [*command, "--backend", "loop"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as started:
        try:
            assert started.stderr is not None
            while "round 1" not in started.stderr.readline():
                assert started.poll() is None
            mine = workers(started.pid)
            assert len(mine) == 2
            started.send_signal(number)
            out, err = started.communicate(timeout=limit(60))
        finally:
            started.kill()
    assert started.returncode == code
    assert out == ""
    assert "Traceback" not in err
    until(lambda: not any(process.is_running() for process in mine), 60, told=mine)
