"""Flags of a server that already runs: what they become, and what no record may hold."""

import os

import msgspec
import pytest

from catalog.errors import BadValue
from moeserve.cli import main
from moeserve.cli.endpoint_flags import extra_body, headers
from orchestrator.experiment.endpoint_options import EndpointOptions
from orchestrator.experiment.experiment import Experiment, override


def test_a_key_on_the_command_line_goes_into_a_variable_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.environ", dict(os.environ))
    found = headers(["Authorization=Bearer open-sesame", "X-Team: blue", "X-Key=$GATEWAY"])
    options = EndpointOptions(headers=found)
    assert b"open-sesame" not in msgspec.json.encode(options)
    assert "open-sesame" not in capsys.readouterr().err
    os.environ["GATEWAY"] = "hunter2222"
    assert options.header_values() == {
        "Authorization": "Bearer open-sesame",
        "X-Team": "blue",
        "X-Key": "hunter2222",
    }


@pytest.mark.parametrize("wrong", ["X-Key", "=value", "X-Key=", "Two Words=a"])
def test_what_is_no_header_is_bad_input(wrong: str) -> None:
    with pytest.raises(BadValue, match="--header"):
        EndpointOptions(headers=headers([wrong]))


@pytest.mark.parametrize("wrong", ["priority=3", "[1]", "3", "{"])
def test_further_fields_are_a_json_object(wrong: str) -> None:
    with pytest.raises(BadValue, match="JSON object"):
        extra_body(wrong)
    assert extra_body('{"priority": 3}') == {"priority": 3}


def test_a_model_that_nobody_named_is_the_servers_to_name() -> None:
    assert override(Experiment(), {"endpoint": "http://h:1"}).models == ()
    named = override(Experiment(), {"endpoint": "http://h:1", "models": ("OLMoE-1B-7B",)})
    assert named.models == ("OLMoE-1B-7B",)
    assert Experiment().models == ("OLMoE-1B-7B",)


@pytest.mark.parametrize("flag", ["--endpoint", "--base-url", "--url", "--target"])
def test_each_name_of_the_address_is_understood_and_a_password_in_it_is_not_shown(
    flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["plan", flag, "http://user:hunter2222@127.0.0.1:9", "--workload", "16:16:4"])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "--header Authorization" in said
    assert "hunter2222" not in said


def test_what_only_a_running_server_is_sent_needs_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["plan", "--engine", "simulated", "--api", "chat", "--omit-field", "min_tokens"])
    assert ended.value.code == 2
    assert "--api, --omit-field" in capsys.readouterr().err
