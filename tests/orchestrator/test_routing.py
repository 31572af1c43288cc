"""Where a text's tokens go: counted by hand, and through a real model's own routers."""

import json
from pathlib import Path

import numpy as np
import pytest

from moeserve.cli import main
from orchestrator.experiment.experiment import Experiment
from orchestrator.plan import make_plan
from orchestrator.routing import (
    RANDOM,
    MeasuredRouting,
    RoutingSpec,
    routing_file,
    routing_rows,
)
from tests.needs import needs_transformers


def measured(by_kind: dict[str, np.ndarray], window: int = 3) -> MeasuredRouting:
    experiment = Experiment(models=("tiny-mixtral",), engine="simulated", strategies=("single",))
    (setup,) = make_plan(experiment, "simulated").setups
    return MeasuredRouting(setup, "measured", by_kind, window)


# Two prompts of three tokens, top 2 of four experts, one layer.
EVEN = np.array([[[2, 1, 2, 1]], [[1, 2, 1, 2]]])
UNEVEN = np.array([[[3, 3, 0, 0]], [[3, 0, 3, 0]]])


def test_a_text_s_busiest_rank_is_set_against_that_of_random_ids() -> None:
    one = measured({RANDOM: EVEN, "sample": UNEVEN})
    spec = RoutingSpec(degrees=(2,), placements=("linear", "round_robin"))
    random, text, _, robin = routing_rows(one, spec, layers=False)
    assert (random["rank_max_over_mean"], random["dead_experts"]) == (1.0, 0)
    assert "over_random" not in random
    # 6 + 3 tokens on the first rank of two, 12 in all; prompt by prompt 6 of 6 and 3 of 6.
    assert (text["rank_max_over_mean"], text["dead_experts"]) == (1.5, 1)
    assert text["prompt_rank_max_over_mean"] == 1.5
    assert (text["over_random"], text["tokens"]) == (1.5, 6)
    assert text["low_over_random"] <= 1.5 <= text["high_over_random"]
    # Experts 0 and 2 on the first rank: 9 of 12 as well, by prompt 3 of 6 and 6 of 6.
    assert robin["rank_max_over_mean"] == 1.5


def test_a_row_for_each_layer_comes_on_request() -> None:
    two = np.concatenate([UNEVEN, EVEN], axis=1)
    rows = list(routing_rows(measured({RANDOM: two}), RoutingSpec(degrees=(2,)), layers=True))
    assert [row["layer"] for row in rows] == ["all", 0, 1]
    assert [row["rank_max_over_mean"] for row in rows] == [1.25, 1.5, 1.0]


def test_a_degree_with_more_ranks_than_experts_has_no_row() -> None:
    rows = routing_rows(measured({RANDOM: EVEN}), RoutingSpec(degrees=(2, 4, 8)), layers=False)
    assert [row["ep"] for row in rows] == [2, 4]


def test_one_prompt_has_no_interval() -> None:
    one = measured({RANDOM: EVEN[:1], "sample": UNEVEN[:1]})
    _, text = routing_rows(one, RoutingSpec(degrees=(2,)), layers=False)
    assert "low_over_random" not in text


def test_the_file_holds_the_text_s_counts_of_one_model() -> None:
    one = measured({RANDOM: EVEN, "sample": UNEVEN})
    saved = routing_file([one], RoutingSpec())
    assert (saved.expert_tokens, saved.tokens, saved.top_k) == ([[6, 3, 3, 0]], 6, 2)


@pytest.mark.parametrize(("args", "told"), [
    (["--ep", "1"], "--ep"), (["--ep", "two"], "--ep"), (["--placement", "random"], "linear"),
    (["--engine", "simulated"], "--expert-load"),
])  # fmt: skip
def test_what_cannot_be_counted_is_refused(
    args: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = called(capsys, "routing", "-m", "tiny-mixtral", *args)
    assert (code, out, told in err) == (2, "", True)


def called(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


@needs_transformers
def test_what_could_not_be_saved_or_cut_is_refused_before_anything_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (short := tmp_path / "short.txt").write_text("hello")
    asked = ("routing", "-m", "tiny-mixtral", "--engine", "transformers", "--text", RANDOM)
    for more, told in (
        (("--tokens", "100"), "one window of 256"),
        (("--window", "1"), "2 tokens or more"),
        (("--text", str(short)), "5 bytes"),
        (("--ep", "16"), "up to the 8 experts"),
        (("--save", str(tmp_path / "none" / "routing.json")), "cannot be written"),
        (("--save", str(tmp_path)), "cannot be written"),
        (("-m", "tiny-olmoe", "--save", str(tmp_path / "r.json")), "one model and technique"),
    ):
        code, out, err = called(capsys, *asked, *more)
        assert (code, out, told in err, "starting" in err) == (2, "", True, False), more


@needs_transformers
def test_random_ids_follow_the_seed_that_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []

    async def measure(_: object, spec: RoutingSpec, *__: object) -> list[MeasuredRouting]:
        seeds.append(spec.seed)
        return []

    monkeypatch.setattr("orchestrator.routing.measure_routing", measure)
    with pytest.raises(SystemExit):
        main(["routing", "-m", "tiny-mixtral", "--engine", "transformers", "--seed", "7"])
    assert seeds == [7]


@pytest.mark.slow
@needs_transformers
def test_a_model_s_own_routers_are_asked_and_an_estimate_takes_what_they_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved, one = tmp_path / "routing.json", ("-m", "tiny-mixtral")
    lengths = ("--tokens", "1024", "--window", "64", "--ep", "2", "--save", str(saved), "-q")
    asked = ("routing", *one, "--engine", "transformers", *lengths, "--format", "json")
    code, out, err = called(capsys, *asked)
    assert code == 0, err
    random, text = json.loads(out)
    assert (random["provenance"], random["tokens"]) == ("measured", 1024)
    assert 1 <= random["rank_max_over_mean"] < text["rank_max_over_mean"]
    counts = json.loads(saved.read_text())["expert_tokens"]
    assert [sum(layer) for layer in counts] == [1024 * 2] * 2
    place = ("estimate", *one, "-s", "ep", "--hardware", "H100", "-w", "512:8:8", "-c", "8")
    (law,), (counted,) = (
        json.loads(called(capsys, *place, *more, "--format", "json")[1])
        for more in ((), ("--routing", str(saved)))
    )
    assert law["mean_ttft_ms"] != counted["mean_ttft_ms"]
