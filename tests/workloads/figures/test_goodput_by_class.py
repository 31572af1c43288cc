"""Limits of one class of a mix are of its requests alone."""

import numpy as np
import pytest

from catalog.errors import BadValue
from orchestrator.run.outcome import attainment
from workloads.figures.goodput import classes_of, limits_of, parse_goodput
from workloads.figures.metrics import good_requests
from workloads.transcript import RequestRow, Transcript


def row(number: int, part: str, ttft_ms: float) -> RequestRow:
    first_s = ttft_ms / 1e3
    return RequestRow(
        request=number, due_s=0.0, sent_s=0.0, first_token_s=first_s, done_s=first_s + 0.1,
        output_tokens=2, token_times_s=np.array([first_s, first_s + 0.1]), part=part,
    )  # fmt: skip


ROWS = [row(0, "chat", 100), row(1, "chat", 300), row(2, "rag", 300), row(3, "rag", 900)]


def test_a_class_is_held_to_its_own_limit_before_that_of_all() -> None:
    slos = parse_goodput(["ttft:500 chat.ttft:200", "rag.e2el:2000"])
    assert slos == {"ttft": 500, "chat.ttft": 200, "rag.e2el": 2000}
    assert classes_of(slos) == ["chat", "rag"]
    assert limits_of("chat", slos) == {"ttft": 200}
    assert limits_of("rag", slos) == {"ttft": 500, "e2el": 2000}
    assert good_requests(Transcript.of(ROWS), slos) == 2


def test_a_search_goes_by_the_class_that_meets_its_limits_least() -> None:
    found = attainment(ROWS, parse_goodput(["chat.ttft:400", "rag.ttft:400"]))
    assert found["slo_attainment"] == 0.75
    assert found["slo_attainment_worst"] == 0.5
    assert found["slo_attainment_by_part"] == "chat:1 rag:0.5"


@pytest.mark.parametrize("text", [".ttft:3", "chat.tttf:3", "chat.ttft", "chat.ttft:0"])
def test_what_is_no_limit_of_a_class_is_refused(text: str) -> None:
    with pytest.raises(BadValue, match=r"chat\.ttft:200"):
        parse_goodput([text])
