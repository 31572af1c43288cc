"""What an estimate assumes stands in its row, and what it cannot know is said or refused."""

import json
from pathlib import Path

import msgspec
import pytest

from perfmodel.constants import VLLM_2026
from tests.moeserve.test_model_commands import rows, run

ONE = "estimate -m OLMoE-1B-7B --hardware H100 -s ep -w 64:8:8 -c 4"


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--zipf 1", "zipf 1"),
        ("--imbalance 1.5", "imbalance 1.5"),
        ("--noise 0.1", "noise 0.1"),
        ("--usable-fraction 0.5", "0.5 of memory usable"),
        ("--server-arg=--gpu-memory-utilization=0.5", "0.5 of memory usable"),
        ("--server-arg=--kv-cache-dtype=fp8", "KV cache in fp8"),
        ("--server-arg=--dtype=float16", "computing in float16"),
        ("--server-arg=--block-size=32", "blocks of 32"),
    ],
)
def test_estimates_that_assume_something_else_are_another_condition(
    flags: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (plain,), (other,) = rows(capsys, ONE), rows(capsys, f"{ONE} {flags}")
    assert plain["configuration"] != other["configuration"]
    assert told in other["configuration_text"]
    assert "assumed" not in plain


def test_two_fits_are_two_conditions_whatever_they_call_themselves(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = []
    for kernel_s in (3e-6, 4e-6):
        file = tmp_path / f"{kernel_s}.json"
        mine = msgspec.structs.replace(VLLM_2026, name="fitted", kernel_s=kernel_s)
        file.write_bytes(msgspec.json.encode(mine))
        found += rows(capsys, f"{ONE} --calibration {file}")
    assert len({row["configuration"] for row in found}) == 2
    assert all(row["calibration"].startswith("fitted#") for row in found)


def test_a_rank_cannot_get_more_than_all_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, f"{ONE} --imbalance 2.5")
    assert code == 2
    assert "imbalance: got 2.5, allowed: 1 to 2, all that one of 2 ranks can get" in err


def test_what_an_open_loop_has_in_flight_is_what_its_bounds_are_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = "estimate -m gpt-oss-120b --hardware H100 -s tp4 -w 512:100:400 -c 2000 --request-rate"
    (few,), (many,) = rows(capsys, f"{line} 1"), rows(capsys, f"{line} 400")
    assert few["outside_calibration"].endswith("requests in flight, compared from 4 to 256")
    assert many["outside_calibration"].endswith("requests in flight, compared from 4 to 256")
    assert few["effective_concurrency"] < 4 < 256 < many["effective_concurrency"]


def test_a_tpot_of_0_has_no_bounds(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = rows(capsys, "estimate -m OLMoE-1B-7B --hardware H100 -s tp -w 16:2:4 -c 2")
    assert row["mean_tpot_ms"] == 0
    assert row["low_mean_tpot_ms"] is row["high_mean_tpot_ms"] is None
    assert row["low_mean_ttft_ms"] < row["mean_ttft_ms"] < row["high_mean_ttft_ms"]


def test_a_release_newer_than_what_was_read_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, known = run(capsys, f"{ONE} --engine-version 0.32.1")
    _, _, newer = run(capsys, f"{ONE} --engine-version 0.99")
    assert "newer than" not in known
    assert "vLLM 0.99 is newer than 0.32, the last whose defaults are known" in newer


def test_a_fit_is_not_asked_for_beside_what_is_known_of_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, err = run(capsys, "estimate --about-calibration --calibrate mine.csv --save a.json")
    assert (code, out) == (2, "")
    assert "--about-calibration: got '--calibrate', allowed: one of the two" in err


def test_autotune_says_what_of_a_context_is_not_known_and_who_is_not_priced(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, out, err = run(capsys, "autotune -m OLMoE-1B-7B --gpus 1 --context 50000 --format json")
    assert "OLMoE-1B-7B was made for 4096 tokens, and no server takes 50000 unasked" in err
    assert "5e+04 prompt tokens, compared from" in json.loads(out)[0]["outside_calibration"]
    assert "bounds are wider: " in err
    code, _, err = run(capsys, "autotune -m LLaDA-MoE-7B --gpus 1")
    assert code == 2
    assert "a model that decodes token by token" in err


def test_what_is_found_in_a_prefix_cache_is_not_what_was_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = "estimate -m gpt-oss-120b --hardware H100 -s tp4 -c 8 -w"
    (plain,), (shared,) = (
        rows(capsys, f"{line} {load}") for load in ("512:100:16", "512:100:16,prefix=256x2")
    )
    assert plain["outside_calibration"] == ""
    assert "prompts found in a prefix cache were not compared" in shared["outside_calibration"]
    (served,) = rows(capsys, f"{line} 512:100:16 --prefix-cached")
    assert served["outside_calibration"] == "prompts found in a prefix cache were not compared"


def test_a_breakdown_says_which_layouts_cannot_be(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, err = run(
        capsys, "estimate -m mixtral -s single,tp -w 64:16:8 -c 8 --hardware A100-80GB --breakdown"
    )
    assert "Mixtral-8x7B single cannot: " in err
    assert "weights take 87.0 GiB" in err
