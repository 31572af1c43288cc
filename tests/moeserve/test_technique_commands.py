"""Techniques and quality at the command line: listed, and refused before anything starts."""

import json

import pytest

from moeserve.cli import main
from tests.needs import needs_vllm


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_techniques_are_listed_with_the_engines_that_do_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["techniques", "--format", "json"])
    assert ended.value.code == 0
    rows = {row["technique"]: row for row in json.loads(capsys.readouterr().out)}
    assert "transformers" in rows["expert-offload"]["engines"]
    assert "size such as 8GiB" in rows["cpu-offload:VALUE"]["parameters"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("-t", "fp9"), "Did you mean fp8?"),
        (("-t", "expert-offload:resident=1"), "needs --engine transformers"),
        (("-t", "kv-fp8", "--endpoint", "http://127.0.0.1:1"), "engine endpoint: none, label"),
        pytest.param(
            ("--engine", "vllm", "-t", "fp8+int8"),
            "one method that changes the weights",
            marks=needs_vllm,
        ),
        (("--engine", "transformers", "-t", "expert-offload"), "one of resident=N"),
    ],
)
def test_a_run_with_a_technique_that_cannot_be_is_refused(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    assert told in refused(capsys, "run", "--engine", "simulated", *words)


@pytest.mark.slow
def test_a_budget_below_one_expert_is_refused_before_the_model_is_loaded(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("transformers")
    words = ("run", "--engine", "transformers", "-m", "mixtral", "-t", "expert-offload:memory=8MB")
    assert "room for one expert: 336 MiB" in refused(capsys, *words)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--engine", "simulated"), "holds no weights to judge"),
        (("--text", "no/such/file.txt"), "no such text"),
        (("--window", "1"), "2 tokens or more"),
        (("--top", "50"), "1 to 20"),
    ],
)
def test_quality_that_cannot_be_measured_is_refused(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    assert told in refused(capsys, "quality", "-m", "mixtral", "-s", "tp", *words)
