import json

import numpy as np
import pytest

from workloads.client.payloads import Payloads
from workloads.transport.target import Target

TARGET = Target(base_url="http://h:1", model="m")


def prompt_of(payload: bytes) -> object:
    return json.loads(payload.partition(b"\r\n\r\n")[2])["prompt"]


def test_prepared_or_not_each_request_carries_its_own_prompt() -> None:
    payloads = Payloads(TARGET, np.arange(40, dtype=np.int32).reshape(10, 4), 3)
    assert prompt_of(payloads.take(0)) == [0, 1, 2, 3]
    payloads.prepare(10.0)
    assert [prompt_of(payloads.take(request)) for request in (1, 9, 5)] == [
        [4, 5, 6, 7],
        [36, 37, 38, 39],
        [20, 21, 22, 23],
    ]


def test_a_request_is_built_again_when_it_is_sent_again() -> None:
    payloads = Payloads(TARGET, ["a", "b"], 3)
    payloads.prepare(10.0)
    assert payloads.take(1) == payloads.take(1)


def test_no_more_is_held_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workloads.client.payloads.AHEAD_BYTES", 5_000)
    payloads = Payloads(TARGET, ["x" * 1_000] * 100, 3)
    payloads.prepare(10.0)
    held = [len(payloads.take(request)) for request in range(100)]
    assert len(held) == 100
    payloads.prepare(10.0)
    assert payloads.held_bytes == 0


def test_only_token_ids_have_a_known_length() -> None:
    assert Payloads(TARGET, np.zeros((1, 7), np.int32), 3).input_tokens(0) == 7
    assert Payloads(TARGET, ["seven"], 3).input_tokens(0) is None


def test_a_server_may_count_a_text_up_to_its_bytes_and_a_template() -> None:
    assert Payloads(TARGET, ["a" * 100], 3).most_input_tokens(0) == 400 + 4096
    assert Payloads(TARGET, np.zeros((1, 4), np.int32), 3).most_input_tokens(0) == 2**31 - 1
