"""Codes of what a run's answers prove, each for its cause and for no other."""

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from catalog.model_table import model
from orchestrator.experiment.experiment import Experiment
from orchestrator.plan import make_plan
from orchestrator.run import stream_checks
from orchestrator.run.evidence import Evidence
from workloads.transcript import RequestRow

INPUT, OUTPUT, COUNT = 16, 8, 8
QUICK = 1 + 0.001 * np.arange(OUTPUT)


def row(number: int, **changes: Any) -> RequestRow:
    times = 1.0 + 0.04 * np.arange(OUTPUT)
    base = RequestRow(
        request=number,
        due_s=0.0,
        sent_s=0.0,
        input_tokens=INPUT,
        server_input_tokens=INPUT,
        output_tokens=OUTPUT,
        token_times_s=times,
        token_events=OUTPUT,
        token_reads=OUTPUT,
        finish_reason="length",
    )
    return replace(base, **changes)


def evidence(form: str = "", told: dict[str, Any] | None = None, **changes: Any) -> Evidence:
    asked = Experiment(
        models=("mixtral",), strategies=("tp",), workloads=(f"{INPUT}:{OUTPUT}:{COUNT}",),
        concurrency="1",
    )  # fmt: skip
    (run,) = make_plan(asked, "simulated").runs
    setup = msgspec.structs.replace(run.cell.setup, request_form=form)
    cell = msgspec.structs.replace(run.cell, setup=setup)
    rows = [row(number, **changes) for number in range(COUNT)]
    return Evidence(cell, model("mixtral"), rows, told or {}, measured=True)


def codes(check: Any, seen: Evidence) -> list[str]:
    return [reason.split(":")[0] for reason in check(seen)]


@pytest.mark.parametrize(
    ("changes", "told", "code"),
    [
        ({}, {}, []),
        ({"clumped_events": 8, "token_reads": 2}, {}, ["CLUMPED"]),
        ({"clumped_events": 8, "token_reads": 1, "token_times_s": np.ones(8)}, {}, ["CLUMPED"]),
        ({"clumped_events": 3, "token_reads": 6}, {}, ["SOME_CLUMPED"]),
        ({"clumped_events": 1, "token_reads": 7}, {}, []),
        # A client that is busy, or late, has read late itself.
        ({"clumped_events": 8, "token_reads": 2}, {"client_busy_share": 0.9}, []),
        ({"clumped_events": 8, "token_reads": 4}, {"client_p99_loop_lag_ms": 80.0}, []),
        # Reads that are milliseconds apart hold nothing back for long.
        ({"clumped_events": 8, "token_reads": 4, "token_times_s": QUICK}, {}, []),
    ],
)  # fmt: skip
def test_clumps_are_held_back_for_long_while_the_client_idles(
    changes: dict[str, Any], told: dict[str, Any], code: list[str]
) -> None:
    assert codes(stream_checks.clumped, evidence(told=told, **changes)) == code


@pytest.mark.parametrize(
    ("read", "code"),
    [(16, []), (17, ["PROMPT_LONGER"]), (15, ["INPUT_MISMATCH"]), (40, ["INPUT_MISMATCH"]),
     (0, ["PROMPT_UNKNOWN"]), (None, [])],
)  # fmt: skip
def test_token_ids_are_read_as_many_as_were_sent(read: int | None, code: list[str]) -> None:
    assert codes(stream_checks.prompts, evidence(server_input_tokens=read)) == code


@pytest.mark.parametrize(
    ("sent", "words"), [(16, "no prompt tokens; input figures are of what was sent"),
                        (None, "no prompt tokens; input figures are left out")],
)  # fmt: skip
def test_a_running_server_that_tells_no_prompt_tokens_is_said_to(
    sent: int | None, words: str
) -> None:
    silent = evidence(told={"served_model": "m"}, input_tokens=sent, server_input_tokens=None)
    (told,) = stream_checks.prompts(silent)
    assert told.startswith("PROMPT_UNKNOWN")
    assert words in told


@pytest.mark.parametrize(
    ("read", "code"),
    [(16, []), (22, []), (40, ["PROMPT_LONGER"]), (5, ["INPUT_MISMATCH"])],
)
def test_text_is_about_as_long_as_was_asked(read: int, code: list[str]) -> None:
    seen = evidence("chat", server_input_tokens=read, input_tokens=read)
    assert codes(stream_checks.prompts, seen) == code


def test_a_chat_templates_own_tokens_in_the_cache_are_no_warm_cache() -> None:
    assert codes(stream_checks.cached, evidence(cached_tokens=6)) == ["CACHE_WARM"]
    assert (
        codes(stream_checks.cached, evidence("chat", {"template_tokens": 6.0}, cached_tokens=6))
        == []
    )
    assert codes(stream_checks.cached, evidence(cached_tokens=None)) == []


def test_answers_of_several_models_are_no_one_models() -> None:
    told = {"served_model": "a"}
    assert codes(stream_checks.names, evidence(told=told, answered_by="a")) == []
    assert codes(stream_checks.names, evidence(told=told, answered_by="b")) == ["ANSWERED_AS"]
    mixed = evidence(told=told)
    rows = [row(n, answered_by="ab"[n % 2]) for n in range(COUNT)]
    assert codes(stream_checks.names, replace(mixed, rows=rows)) == ["SEVERAL_MODELS"]


def test_ends_that_were_left_to_the_server_are_a_note() -> None:
    short = {"output_tokens": 5, "finish_reason": "stop"}
    assert codes(stream_checks.lengths, evidence(**short)) == ["LENGTH_MISMATCH"]
    own = evidence("without ignore_eos min_tokens", **short)
    assert codes(stream_checks.lengths, own) == ["LENGTHS_OWN"]
