"""Which model is asked for, whether the one that answers stays, and how a server is reached."""

import os
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import BadValue, ChangedExperiment, EndpointError, InputError, UnknownName
from orchestrator.engines.endpoint.access import target_of
from orchestrator.engines.endpoint.inspect import choose, inspect
from orchestrator.engines.endpoint.metrics_source import find_metrics, to_and_fro
from orchestrator.experiment.endpoint_options import EndpointOptions, kept_in_environment
from orchestrator.experiment.experiment import Experiment, ServerOptions
from orchestrator.measure.control import Control
from orchestrator.measure.metric_names import in_vllm_names
from orchestrator.results.manifests import read_manifests
from tests.odd_server import OddServer, measured, serving
from workloads.figures.server_metrics import parse_metrics
from workloads.load.text_prompts import TextPrompts, fitted
from workloads.transport.target import Target

VLLM = "vllm:generation_tokens_total {n}\nvllm:request_success_total 1\nvllm:num_requests_running 0"


@pytest.fixture(autouse=True)
def no_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    async def described(study: object) -> dict[str, object]:
        return {}

    monkeypatch.setattr("orchestrator.study.environment_of", described)


def named(*models: str, **options: Any) -> Experiment:
    return Experiment(
        endpoint="http://h:1", models=models, endpoint_options=EndpointOptions(**options)
    )


@pytest.mark.parametrize(
    ("asked", "listed", "name", "note"),
    [
        (named("b"), ("a", "b"), "b", ""),
        (named("org/Model-B"), ("a", "model-b"), "model-b", ""),
        (named("Model"), ("/srv/models/model",), "/srv/models/model", ""),
        (named("qwen3"), ("qwen3:8b", "qwen3:latest"), "qwen3:latest", ""),
        (named(), ("a",), "a", ""),
        (named("b"), ("a",), "a", "ANOTHER_NAME"),
        (named("b"), None, "b", "UNLISTED"),
        (named("b", served_name="c"), ("a", "c"), "c", ""),
        (named(served_name="c"), ("a", "b"), "c", "UNLISTED"),
        (named(served_name="c"), None, "c", ""),
    ],
)
def test_the_model_asked_for_is_the_one_that_was_named(
    asked: Experiment, listed: tuple[str, ...] | None, name: str, note: str
) -> None:
    found, notes = choose(asked, listed, "404")
    assert found == name
    assert [each.split(":")[0] for each in notes] == ([note] if note else [])


@pytest.mark.parametrize("asked", [named("c"), named()])
def test_of_several_that_nobody_named_none_is_taken(asked: Experiment) -> None:
    with pytest.raises(UnknownName, match=r"a, b.*--served-model-name"):
        choose(asked, ("a", "b"), "")


def test_without_a_list_a_model_must_be_named() -> None:
    with pytest.raises(EndpointError, match=r"404; name its model with --model"):
        choose(named(), None, "404")


async def test_another_server_at_the_address_ends_a_directory(tmp_path: Path) -> None:
    first, second = OddServer(served=("a",)), OddServer(served=("b",))
    async with serving(first):
        await measured(first, tmp_path)
        port = int(first.url.rpartition(":")[2])
    async with serving(second, port=port):
        with pytest.raises(ChangedExperiment, match="was 'a', now 'b'"):
            await measured(second, tmp_path, num_runs=2)
    assert second.asked == []


async def test_a_server_that_changes_between_replicates_is_told(tmp_path: Path) -> None:
    server = OddServer(answers_as="a")
    async with serving(server):
        await measured(server, tmp_path)
        server.answers_as = "b"
        row = await measured(server, tmp_path, num_runs=2)
    assert (row["verdict"], row["verdict_reasons"]) == ("failed", "SERVER_CHANGED")


async def test_a_server_that_is_loading_is_waited_for(tmp_path: Path) -> None:
    told: list[str] = []
    server = OddServer(loading_answers=2)
    async with serving(server):
        asked = Experiment(endpoint=server.url, server=ServerOptions(start_timeout_s=30))
        await inspect(asked, told.append)
        assert len(told) == 2
        assert "Loading model" in told[0]


async def test_a_401_says_how_to_give_a_key_and_a_header_is_one(tmp_path: Path) -> None:
    server = OddServer(key=("X-Gateway-Key", "open-sesame"))
    async with serving(server):
        with pytest.raises(EndpointError, match=r"no valid key.*MOESERVE_API_KEY.*--header"):
            await inspect(Experiment(endpoint=server.url))
        value = kept_in_environment("X-Gateway-Key", "open-sesame")
        options = EndpointOptions(headers={"X-Gateway-Key": value})
        row = await measured(server, tmp_path, options=options)
    assert row["completed"] == 6
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"open-sesame" in data for data in kept)


def test_a_key_in_the_experiment_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\$VARIABLE.*@FILE"):
        EndpointOptions(headers={"Authorization": "Bearer sesame-open"})
    with pytest.raises(InputError, match="every record"):
        EndpointOptions(extra_body={"user": {"api_key": "sk-aaaaaaaaaaaaaaaaaaaaaaaa1"}})
    (tmp_path / "key").write_text("Bearer open\n")
    options = EndpointOptions(headers={"Authorization": f"@{tmp_path / 'key'}", "X-Team": "blue"})
    assert options.header_values() == {"Authorization": "Bearer open", "X-Team": "blue"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"api": "responses"},
        {"prompt": "images"},
        {"api": "chat", "prompt": "ids"},
        {"omit_fields": ("stream",)},
        {"omit_fields": ("max_tokens",)},
        {"extra_body": {"max_tokens": 5}},
        {"headers": {"Content-Length": "5"}},
        {"headers": {"X": "a\r\nY: b"}},
        {"stall_timeout_s": 0.0},
    ],
)
def test_what_would_spoil_a_measurement_is_bad_input(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        EndpointOptions(**wrong)


def test_a_variable_that_is_not_set_is_named() -> None:
    os.environ.pop("NO_SUCH_KEY", None)
    with pytest.raises(BadValue, match="NO_SUCH_KEY"):
        EndpointOptions(headers={"X-Key": "$NO_SUCH_KEY"}).header_values()


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://h:1/gate/v1?api-version=3", "/gate/v1/completions?api-version=3"),
        ("http://h:1/v1/completions", "/v1/completions"),
        ("http://h:1/gate/v1/chat/completions", "/gate/v1/completions"),
    ],
)
def test_a_url_may_have_a_prefix_a_query_or_be_the_whole_address(url: str, path: str) -> None:
    assert Target(base_url=url, model="m").path == path


@pytest.mark.parametrize(("api", "other"), [("chat", "completions"), ("completions", "chat")])
def test_an_address_of_one_api_is_not_measured_over_the_other(api: str, other: str) -> None:
    place = {"chat": "chat/completions", "completions": "completions"}
    for named, found in ((api, None), (other, f"--api {other}")):
        asked = Experiment(
            endpoint=f"http://h:1/v1/{place[named]}", endpoint_options=EndpointOptions(api=api)
        )
        if found is None:
            assert target_of(asked, "m").endpoint == api
        else:
            with pytest.raises(BadValue, match=found):
                target_of(asked, "m")


@pytest.mark.parametrize("url", ["http://u:hunter22@h:1", "http://h:1?api_key=hunter22"])
def test_a_key_in_a_url_is_neither_taken_nor_shown(url: str) -> None:
    with pytest.raises(BadValue, match="--header") as raised:
        Target(base_url=url, model="m")
    assert "hunter22" not in str(raised.value)


async def test_metrics_of_several_servers_are_not_taken_for_one(tmp_path: Path) -> None:
    server = OddServer(metrics=f"{VLLM}|{VLLM.replace('{n}', '9')}")
    async with serving(server):
        row = await measured(server, tmp_path)
    assert "METRICS_SHARED" in row["verdict_notes"]
    assert not {"FOREIGN_TRAFFIC", "TOKEN_COUNT_MISMATCH"} & set(row["verdict_reasons"].split(";"))


async def test_metrics_may_be_elsewhere_or_unwanted(tmp_path: Path) -> None:
    server = OddServer(metrics=VLLM, metrics_prefix="/own/metrics")
    async with serving(server):
        for number, (url, told) in enumerate(((f"{server.url}/own/metrics", 96), ("none", None))):
            options = EndpointOptions(metrics_url=url)
            row = await measured(server, tmp_path / str(number), options=options)
            assert row.get("server_generation_tokens") == told
            assert "SERVER_UNSEEN" in row["verdict_notes"]  # the first lacks a prefix cache's


class WithoutMetricsLater(OddServer):
    """Its counters answer until the load comes, and no more."""

    async def answer(self, writer: Any, path: str, headers: Any, body: bytes) -> None:
        if path == "/metrics" and len(self.asked) > 3:
            self.metrics = "<html>sign in</html>"
        await super().answer(writer, path, headers, body)


@pytest.mark.slow
async def test_counters_that_are_lost_during_a_run_are_told_and_no_figures(tmp_path: Path) -> None:
    server = WithoutMetricsLater(metrics=VLLM)
    async with serving(server):
        row = await measured(server, tmp_path)
    assert row["completed"] == 6
    assert row.get("server_generation_tokens") is None
    (manifest,) = read_manifests(tmp_path)
    assert "counters could not be read after the run" in str(manifest.details)


async def test_counters_behind_a_key_are_told_as_such() -> None:
    server = OddServer(key=("X-Key", "sesame"))
    async with serving(server), Control(server.url) as control:
        (told,) = await find_metrics(control, None, several=False)
    assert "SERVER_UNSEEN: its counters cannot be read" in told
    assert "answered 401" in told


@pytest.mark.parametrize(
    ("texts", "several"),
    [
        (["a_total 1", "a_total 1"], False),
        (["a_total 1", "a_total 5"], False),
        (["a_total 5", "a_total 1"], True),
        (["process_start_time_seconds 1", "process_start_time_seconds 2"], True),
    ],
)
def test_counters_that_go_to_and_fro_are_several_servers(texts: list[str], several: bool) -> None:
    assert to_and_fro([parse_metrics(text) for text in texts]) == several


def test_other_servers_metrics_have_vllms_names() -> None:
    text = 'sglang:num_running_reqs{m="x"} 3\ntrtllm_request_success_total 4\nother 5'
    found = parse_metrics(in_vllm_names(text))
    totals = [found.total(f"vllm:{n}") for n in ("num_requests_running", "request_success_total")]
    assert totals == [3, 4]
    assert found.total("other") == 5


def test_what_a_word_and_a_template_take_is_read_from_two_counts() -> None:
    assert fitted((16, 64), (30.0, 102.0)) == TextPrompts(1.5, 6.0)
    assert fitted((16, 64), (30.0, 102.0)).words(66) == 40
    assert fitted((16, 64), (4.0, 4.0)) == TextPrompts()
