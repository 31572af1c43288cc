"""Servers with the habits of real ones: a right number, a note, a reason, or the way out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine import Callbacks
from orchestrator.engines.endpoint.access import target_of
from orchestrator.engines.endpoint.first_answer import first_answer
from orchestrator.experiment.endpoint_options import EndpointOptions
from orchestrator.experiment.experiment import Experiment
from orchestrator.table import request_table
from orchestrator.verify import verify_directory
from tests.machine import BUSY, slowness
from tests.odd_server import OddServer, measured, serving
from workloads.load.text_prompts import TextPrompts

CHAT = EndpointOptions(api="chat")
FAILED_ON_RANK_3 = b'event: error\ndata: {"message":"KV transfer failed on rank 3"}\n\n'


@pytest.fixture(autouse=True)
def no_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    async def described(study: object) -> dict[str, object]:
        return {}

    monkeypatch.setattr("orchestrator.study.environment_of", described)


def codes(row: dict[str, Any]) -> set[str]:
    """All reasons and notes, but what a busy test machine adds."""
    told = {*row["verdict_reasons"].split(";"), *row["verdict_notes"].split(";")}
    return told - BUSY - {"SERVER_UNSEEN", "SOME_CLUMPED"}


def near(server: OddServer) -> Any:
    """What the first tokens of the run took, give or take what a busy machine adds."""
    true_ms = 1e3 * sum(server.ttfts_s[-6:]) / 6
    return pytest.approx(true_ms, rel=0.2, abs=25 * slowness())


async def seen(server: OddServer, root: Path, **asked: Any) -> dict[str, Any]:
    async with serving(server):
        return await measured(server, root, **asked)


async def test_a_first_answer_of_no_whole_character_is_asked_again(tmp_path: Path) -> None:
    row = await seen(OddServer(unseen_answers=2), tmp_path, options=CHAT)
    assert codes(row) == set()
    assert row["completed"] == 6


async def test_a_server_that_never_shows_a_token_is_refused(tmp_path: Path) -> None:
    row = await seen(OddServer(unseen_answers=10_000), tmp_path, options=CHAT)
    assert "0 tokens seen, usage says 4" in row["error"]
    assert row["completed"] is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "server",
    [
        OddServer(),
        OddServer(finish={"type": "length", "length": 16}),
        OddServer(between=b"event: ping\ndata: \n\n"),
        OddServer(between=b'data: {"type":"ping"}\n\n'),
        OddServer(per_event=4),
    ],
)
async def test_an_odd_server_that_loses_nothing_is_measured(
    tmp_path: Path, server: OddServer
) -> None:
    row = await seen(server, tmp_path)
    assert codes(row) == set()
    assert (row["completed"], row["total_output_tokens"]) == (6, 6 * 16)
    assert row["mean_ttft_ms"] == near(server)
    assert (row["strategy"], row["served_model"]) == ("as served", "m")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("server", "code"),
    [
        (OddServer(clump=0), "CLUMPED"),
        (OddServer(clump=8), "CLUMPED"),
        (OddServer(prompt_tokens=4), "INPUT_MISMATCH"),
        (OddServer(prompt_tokens=50), "INPUT_MISMATCH"),
        (OddServer(prompt_tokens=17), "PROMPT_LONGER"),
        (OddServer(prompt_tokens=0), "PROMPT_UNKNOWN"),
        (OddServer(cached_tokens=15), "CACHE_WARM"),
        (OddServer(empty_first=True, per_event=4), "FIRST_TOKEN_UNCERTAIN"),
        (OddServer(done=False), "NO_DONE"),
        (OddServer(last_chunk=False), "LEFT_OPEN"),
        (OddServer(answers_as="another"), "ANSWERED_AS"),
        (OddServer(stops_after=8, finish="stop"), "LENGTH_MISMATCH"),
    ],
)
async def test_what_the_answers_prove_has_a_code(
    tmp_path: Path, server: OddServer, code: str
) -> None:
    row = await seen(server, tmp_path)
    assert codes(row) == {code}
    assert row["completed"] == 6
    assert row["total_input_tokens"] == 6 * 16


@pytest.mark.slow
@pytest.mark.parametrize(("options", "read"), [(EndpointOptions(), 6 * 16), (CHAT, None)])
async def test_without_usage_input_figures_are_of_ids_that_were_sent_or_left_out(
    tmp_path: Path, options: EndpointOptions, read: int | None
) -> None:
    row = await seen(OddServer(usage=False), tmp_path, options=options)
    assert codes(row) == {"USAGE_MISSING", "PROMPT_UNKNOWN"}
    assert (row["total_input_tokens"], row["total_output_tokens"]) == (read, 6 * 16)
    assert (row["total_token_throughput"] is None) == (read is None)
    assert verify_directory(tmp_path) == []


async def test_an_empty_event_of_a_server_with_many_tokens_an_event_is_no_first_token(
    tmp_path: Path,
) -> None:
    row = await seen(OddServer(empty_first=True, per_event=4), tmp_path)
    assert row["mean_ttft_ms"] > 25  # the empty event comes at once


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (OddServer(stops_after=8, finish="abort"), "abort"),
        (OddServer(broken=FAILED_ON_RANK_3), "KV transfer failed on rank 3"),
        (OddServer(broken=b'data: {"detail":"worker died"}\n\n'), "worker died"),
    ],
)
async def test_a_server_that_gives_up_is_told_in_its_own_words(
    tmp_path: Path, server: OddServer, words: str
) -> None:
    row = await seen(server, tmp_path)
    assert codes(row) == {"ERRORS", "ZERO_TOKENS"}
    assert all(words in said for said in request_table(tmp_path)["error"].to_pylist())


@pytest.mark.slow
@pytest.mark.parametrize("delta", ["content", "thinking", "reasoning_details", "function_call"])
async def test_chat_counts_whatever_it_streams_as_tokens(tmp_path: Path, delta: str) -> None:
    server = OddServer(only="chat", delta=delta)
    row = await seen(server, tmp_path, options=CHAT)
    assert codes(row) == set()
    assert row["request_form"] == "chat"
    assert row["mean_ttft_ms"] == near(server)
    last = server.asked[-1]
    assert (last["max_completion_tokens"], last["messages"][0]["role"]) == (16, "user")
    assert 14 <= row["total_input_tokens"] / 6 <= 18  # what the template takes is made up for


async def test_text_prompts_are_as_long_as_asked_and_no_two_alike(tmp_path: Path) -> None:
    server = OddServer(only="string")
    row = await seen(server, tmp_path, options=EndpointOptions(prompt="text"), workload="64:8:6")
    assert codes(row) == set()
    assert 60 <= row["total_input_tokens"] / 6 <= 68
    prompts = [asked["prompt"] for asked in server.asked]
    assert len(set(prompts)) == len(prompts)


class CountsSome(OddServer):
    """Tells the prompt's tokens of every second answer alone."""

    def counts(self, asked: Mapping[str, Any], count: int) -> dict[str, Any]:
        self.prompt_tokens = None if len(self.asked) % 2 else 0
        return super().counts(asked, count)


async def test_a_server_that_counts_some_prompts_does_not_say_what_a_word_takes() -> None:
    server = CountsSome()
    async with serving(server):
        asked = Experiment(endpoint=server.url, endpoint_options=CHAT, workloads=("64:8:6",))
        first = await first_answer(asked, target_of(asked, "m"), 100, Callbacks())
    assert first.texts == TextPrompts()
    assert first.notes[0].startswith("PROMPT_UNKNOWN")


async def test_a_text_prompt_that_is_cut_is_no_valid_run(tmp_path: Path) -> None:
    server = OddServer(prompt_tokens=4)
    row = await seen(server, tmp_path, options=EndpointOptions(prompt="text"), workload="64:8:6")
    assert codes(row) == {"INPUT_MISMATCH"}


async def test_fields_are_left_out_and_added_as_asked(tmp_path: Path) -> None:
    server = OddServer(refused=("ignore_eos", "min_tokens"), stops_after=8, finish="stop")
    options = EndpointOptions(omit_fields=("ignore_eos", "min_tokens"), extra_body={"priority": 3})
    row = await seen(server, tmp_path, options=options)
    assert codes(row) == {"LENGTHS_OWN"}
    assert row["request_form"] == 'with {"priority":3}, without ignore_eos min_tokens'
    for asked in server.asked:
        assert asked["priority"] == 3
        assert not {"ignore_eos", "min_tokens"} & set(asked)


@pytest.mark.parametrize(
    ("server", "options", "way_out"),
    [
        (OddServer(only="chat"), EndpointOptions(), "try --api chat"),
        (OddServer(only="string"), EndpointOptions(), "--prompt text"),
        (OddServer(refused=("ignore_eos",)), EndpointOptions(), "--omit-field ignore_eos"),
        (OddServer(refused=("priority",)), EndpointOptions(extra_body={"priority": 1}),
         "--omit-field priority"),
    ],
)  # fmt: skip
async def test_a_refused_request_is_told_with_the_way_out(
    tmp_path: Path, server: OddServer, options: EndpointOptions, way_out: str
) -> None:
    row = await seen(server, tmp_path, options=options)
    assert (row["verdict"], row["verdict_reasons"]) == ("failed", "NOT_READY")
    assert way_out in row["error"]
    assert len(server.asked) == 1  # what is refused for good is not asked again


async def test_a_second_study_sends_prompts_that_the_first_has_not(tmp_path: Path) -> None:
    server = OddServer()
    async with serving(server):
        for name in ("a", "b"):
            await measured(server, tmp_path / name)
    prompts = [tuple(asked["prompt"]) for asked in server.asked]
    assert len(set(prompts)) == len(prompts)
