import json

import numpy as np
import pytest

from catalog.errors import BadValue
from workloads.transport.target import Target


def sent(
    target: Target, prompt: object = None, output_len: int = 8
) -> tuple[str, dict[str, object]]:
    ids = np.array([5, 6, 7], np.int32) if prompt is None else prompt
    head, _, body = target.request(ids, output_len).partition(b"\r\n\r\n")  # type: ignore[arg-type]
    assert f"content-length: {len(body)}" in head.decode().lower()
    return head.decode(), json.loads(body)


def test_a_completion_asks_for_exactly_so_many_tokens_after_exactly_these_ids() -> None:
    head, body = sent(Target(base_url="http://host:8000", model="m"))
    assert head.startswith("POST /v1/completions HTTP/1.1\r\nHost: host:8000\r\n")
    assert body == {
        "model": "m",
        "prompt": [5, 6, 7],
        "max_tokens": 8,
        "min_tokens": 8,
        "ignore_eos": True,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_chat_takes_text_and_no_token_ids() -> None:
    target = Target(base_url="http://h:1", model="m", endpoint="chat")
    head, body = sent(target, "hello")
    assert head.startswith("POST /v1/chat/completions ")
    assert body["messages"] == [{"role": "user", "content": "hello"}]
    with pytest.raises(BadValue, match="chat endpoint takes no token ids"):
        sent(target)


def test_the_key_is_sent_and_never_shown() -> None:
    target = Target(base_url="http://h:1", model="m", api_key="sk-secret")
    assert "Authorization: Bearer sk-secret\r\n" in sent(target)[0]
    assert "secret" not in repr(target)
    assert "Authorization" not in sent(Target(base_url="http://h:1", model="m"))[0]


def test_extra_fields_are_sent_and_win() -> None:
    target = Target(
        base_url="http://h:1",
        model="m",
        return_token_ids=True,
        extra_body={"ignore_eos": False, "x": 1},
    )
    body = sent(target)[1]
    assert (body["return_token_ids"], body["ignore_eos"], body["x"]) == (True, False, 1)


@pytest.mark.parametrize(
    ("url", "path", "host", "address"),
    [
        ("http://h:1", "/v1/completions", "h:1", ("h", 1)),
        ("http://h:1/", "/v1/completions", "h:1", ("h", 1)),
        ("http://h:1/v1", "/v1/completions", "h:1", ("h", 1)),
        ("http://h/a/v1/", "/a/v1/completions", "h", ("h", 80)),
        ("https://h", "/v1/completions", "h", ("h", 443)),
        ("http://[::1]:5", "/v1/completions", "[::1]:5", ("::1", 5)),
    ],
)
def test_base_urls_are_taken_as_users_write_them(
    url: str, path: str, host: str, address: tuple[str, int]
) -> None:
    target = Target(base_url=url, model="m")
    assert (target.path, target.host_header, target.address) == (path, host, address)


@pytest.mark.parametrize(
    ("url", "paths"),
    [
        ("https://h/api/v4/chat/completions", ("/api/v4/chat/completions", "/api/v4/models")),
        ("https://h/chat/completions/", ("/chat/completions", "/models")),
        ("https://h/d/x/chat/completions?v=1", ("/d/x/chat/completions?v=1", "/d/x/models?v=1")),
        ("https://h//v1/chat/completions", ("/v1/chat/completions", "/v1/models")),
        ("https://h/ü/%7Ea/v1", ("/%C3%BC/%7Ea/v1/chat/completions", "/%C3%BC/%7Ea/v1/models")),
        ("https://h//v1/", ("/v1/chat/completions", "/v1/models")),
    ],
)
def test_the_whole_address_of_an_api_is_just_that(url: str, paths: tuple[str, str]) -> None:
    target = Target(base_url=url, model="m", endpoint="chat")
    assert (target.path, target.path_of("/v1/models")) == paths


def test_a_unix_socket_is_a_path() -> None:
    target = Target(base_url="unix:/run/v.sock", model="m")
    assert (target.unix_path, target.path) == ("/run/v.sock", "/v1/completions")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host:80",
        "ftp://h:1",
        "http://",
        "http://h:x",
        "http://h:99999",
        "http://u:p@h:1",
        "http://h:1/?a",
        "unix:relative",
        "unix:",
        "http://h:1/\r\nX: y",
        "http://h:1/ ",
        "http://h:1/a b/v1",
    ],
)
def test_what_is_no_endpoint_is_refused_with_what_is_allowed(url: str) -> None:
    with pytest.raises(BadValue, match="endpoint"):
        Target(base_url=url, model="m")


def test_a_header_cannot_be_smuggled_in() -> None:
    with pytest.raises(BadValue, match="control character"):
        Target(base_url="http://h:1", model="m", api_key="a\r\nX: y")
