"""`moeserve qs` against the dense twin: q from losses, other systems, where the time goes."""

import json
from pathlib import Path

import pytest

from moeserve.cli import main

ASKED = "qs --model DeepSeek-V3 --gpus 64 --context 131072"


def run(capsys: pytest.CaptureFixture[str], text: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(text.split())
    printed = capsys.readouterr()
    return int(str(ended.value.code)), printed.out, printed.err


def rows(capsys: pytest.CaptureFixture[str], text: str) -> list[dict[str, object]]:
    code, out, err = run(capsys, f"{text} --format json")
    assert code == 0, err
    found = json.loads(out)
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize(("losses", "q"), [("2.34:2.12", 3.666), ("2.60:2.29", 5.315)])
def test_q_follows_from_the_losses_of_equations_15_and_16(
    losses: str, q: float, capsys: pytest.CaptureFixture[str]
) -> None:
    (row,) = rows(capsys, f"qs --experts 128 --top-k 1 --losses {losses}")
    assert row["q"] == pytest.approx(q, rel=2e-4)


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ("--experts 8 --top-k 2 --losses 2.3", "DENSE:MOE"),
        ("--experts 8 --top-k 2 --losses 2.3:0", "above 0"),
        ("--experts 8 --top-k 2 --alpha 0.1", "with --losses"),
        ("--experts 8 --top-k 2 --losses 2.3:2.1 --quality 5", "one of them"),
        ("--model mixtral --sensitivity", "--gpus and --context beside"),
        ("--model mixtral --gpus 8 --context 8 --sensitivity --attribution", "one of them"),
        ("--model mixtral --gpus 8 --context 8 --overlap 0.5", "--sensitivity or --attribution"),
        ("--model mixtral --gpus 8 --context 8 --sensitivity --overlap 2", "0 to 1"),
        ("--model mixtral --gpus 8 --context 8 --memory-scale 0", "above 0"),
        ("--model mixtral --gpus 8 --context 8 --attribution --save a.svg", "--sensitivity"),
        ("--model LLaMA-65B --gpus 8 --context 8 --attribution", "one with experts"),
    ],
)
def test_what_goes_together_is_said(
    flags: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, f"qs {flags}")
    assert (code, out) == (2, "")
    assert why in " ".join(err.split())


@pytest.mark.slow
def test_systems_differ_from_the_reference_in_one_thing_each(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib", reason="moeserve[analysis] brings it")
    figure = tmp_path / "systems.svg"
    reference, *changed = rows(capsys, f"{ASKED} --sensitivity --save {figure}")
    assert reference["varied"] == "reference"
    assert "Dense over MoE" in figure.read_text()
    at = {(row["varied"], row["value"]): row for row in changed}
    for variant in ("moe", "dense"):
        name = f"{variant}_tokens_per_s"
        for varied in ("memory", "bandwidth"):
            assert at[varied, 0.75][name] < reference[name] < at[varied, 1.25][name]
        assert at["start_up", 10.0][name] < reference[name] < at["start_up", 0.1][name]
        assert reference[name] <= at["overlap", 0.5][name] <= at["overlap", 1.0][name]


def test_a_system_of_one_s_own_is_the_reference_of_both_searches(
    capsys: pytest.CaptureFixture[str],
) -> None:
    less = rows(capsys, f"{ASKED} --attribution --memory-scale 0.75")
    varied = rows(capsys, f"{ASKED} --sensitivity")
    (row,) = [r for r in varied if (r["varied"], r["value"]) == ("memory", 0.75)]
    assert [each["tokens_per_s"] for each in less] == [
        row["moe_tokens_per_s"], row["dense_tokens_per_s"],
    ]  # fmt: skip


def test_a_token_s_time_is_taken_apart_in_units_of_the_mixture_s_computing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    moe, dense = rows(capsys, f"{ASKED} --attribution")
    assert moe["compute_units"] == 1
    for name in ("hbm", "compute", "communication"):
        seconds = dense[f"{name}_us_per_token"]
        assert dense[f"{name}_units"] == pytest.approx(seconds / moe["compute_us_per_token"])  # type: ignore[operator]


def test_fitted_batches_are_given_beside_the_paper_s_conventions_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (row,) = rows(capsys, ASKED)
    assert (row["paper_fit_b_moe"], row["paper_fit_b_dense"]) == (244, 267)
    for flags in (
        "--hardware H100", "--weight-dtype bfloat16", "--kv-dtype fp8", "--tp 4",
        "--usable-fraction 0.8", "--memory-scale 0.75",
    ):  # fmt: skip
        (row,) = rows(capsys, f"{ASKED} {flags}")
        assert row["paper_fit_b_moe"] is row["paper_fit_b_dense"] is None, flags


def test_what_fits_nowhere_ends_with_4(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "qs -m DeepSeek-V3 --gpus 1 --context 4096 --attribution -q 30")
    assert code == 4
    assert "moe" in out
