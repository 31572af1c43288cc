"""What was asked of each request is what it is judged by; a cache may serve what is shared."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from orchestrator.experiment.cells import cells_of
from orchestrator.experiment.experiment import Experiment
from orchestrator.plan import make_plan
from orchestrator.run.evidence import Evidence
from orchestrator.run.outcome import code_of
from orchestrator.run.validity import reasons_against
from workloads.figures.summary import figures_of
from workloads.transcript import RequestRow

COUNT = 8
LONG = 200


def row(number: int, **changes: Any) -> RequestRow:
    """A good request of 16 + n prompt tokens and 2 + n of the answer."""
    times = 1.0 + number + 0.25 * np.arange(2 + number)
    base = RequestRow(
        request=number, due_s=float(number), sent_s=number + 0.001,
        first_token_s=float(times[0]), done_s=float(times[-1]), token_times_s=times,
        input_tokens=16 + number, input_len=16 + number, server_input_tokens=16 + number,
        output_tokens=2 + number, output_len=2 + number,
    )  # fmt: skip
    return replace(base, **changes)


def codes(
    workload: str,
    rows: list[RequestRow],
    told: Mapping[str, Any] | None = None,
    concurrency: str | None = None,
) -> list[str]:
    asked = Experiment(
        models=("mixtral",),
        strategies=("tp",),
        workloads=(workload,),
        request_rates=() if concurrency else (1.0,),
        concurrency=concurrency,
    )
    made = make_plan(msgspec.structs.replace(asked, workloads=("16:8:4",)), "simulated")
    (setup,) = made.setups
    (cell,) = cells_of(asked, setup)
    figures = {**figures_of(rows, goodput={}, max_concurrency=None), **(told or {})}
    evidence = Evidence(cell, made.models[setup.model], rows, figures, measured=True)
    return [code_of(reason) for reason in reasons_against(evidence)]


GOOD = [row(number) for number in range(COUNT)]
MIXED = f"16-23:2-9:{COUNT}"


def test_answers_of_just_their_own_lengths_are_good() -> None:
    assert codes(MIXED, GOOD) == []


def test_an_answer_of_another_s_length_is_another_workload() -> None:
    assert codes(MIXED, [*GOOD[:-1], row(7, output_len=8)]) == ["LENGTH_MISMATCH"]


def test_a_natural_end_may_come_early_and_never_late() -> None:
    early = [replace(each, natural=True, output_len=9) for each in GOOD]
    assert codes(f"16-23:9:{COUNT},natural", early) == []
    late = [*early[:-1], replace(early[-1], output_len=8)]
    assert codes(f"16-23:9:{COUNT},natural", late) == ["LENGTH_MISMATCH"]


@pytest.mark.parametrize(("hits", "found"), [(30.0, []), (50.0, []), (60.0, ["CACHE_WARM"])])
def test_a_cache_serves_no_more_than_the_workload_shares(hits: float, found: list[str]) -> None:
    told = {
        "server_prefix_cache_queries": 100.0,
        "server_prefix_cache_hits": hits,
        "prefix_shareable_share": 0.5,
    }
    assert codes(f"8-15:2-9:{COUNT},prefix=8x1", GOOD, told) == found


def test_a_text_is_read_as_the_server_has_tokenised_it(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(('{"prompt_token_ids": [1], "output_len": 1}\n') * COUNT)
    rows = [row(n, output_tokens=1, output_len=1, token_times_s=np.array([1.0 + n]), done_s=1.0 + n)
            for n in range(COUNT)]  # fmt: skip
    assert codes(f"file:{path}", rows) == []
    assert codes(f"file:{path}", [*rows[:-1], replace(rows[-1], input_len=9)]) == ["INPUT_MISMATCH"]


def test_what_a_usage_says_was_cached_is_held_to_the_same() -> None:
    cached = [replace(each, cached_tokens=8) for each in GOOD]
    assert codes(MIXED, cached) == ["CACHE_WARM"]
    assert codes(f"8-15:2-9:{COUNT},prefix=8x1", cached, {"prefix_shareable_share": 0.5}) == []


@pytest.mark.parametrize(
    ("workload", "found"),
    [(f"16:2:{LONG}", ["NOT_STEADY"]), (f"16:2-3:{LONG}", ["NOT_STEADY"]),
     (f"16:2:{LONG},turns={LONG}", [])],
)  # fmt: skip
def test_a_trend_that_is_the_workload_s_own_is_none_of_the_server(
    workload: str, found: list[str]
) -> None:
    """Each answer takes longer than the one before: with turns, prompts grow as well."""
    rows, now_s = [], 0.0
    for number in range(LONG):
        took_s = 0.1 * (1 + 2 * number / LONG)
        times = np.array([now_s + took_s / 2, now_s + took_s])
        rows.append(RequestRow(
            request=number, due_s=now_s, sent_s=now_s, first_token_s=float(times[0]),
            done_s=float(times[1]), token_times_s=times, input_tokens=16, output_tokens=2,
            output_len=2, input_len=16,
        ))  # fmt: skip
        now_s += took_s
    assert codes(workload, rows, concurrency="1") == found
