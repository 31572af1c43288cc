"""A key that a server echoes, wherever it does, is in nothing that is written or shown."""

import json
from pathlib import Path

import pytest

from catalog import secrets
from moeserve.cli import main
from tests.lying_endpoint import LyingEndpoint, served_aside

pytestmark = pytest.mark.slow

CANARY = "canary/7f3a9c+1e5b=XYZ"
IN_JSON = '{"error":{"message":"denied","headers":{"authorization":"Bearer {key}"}}}'
PADDED = "x" * 280 + " Bearer {key}"
"""Cut where the key begins: its first half must not stay."""
ECHOES = {
    "a 401's body": LyingEndpoint(status=401, body="denied: you sent Bearer {key}"),
    "a 401's JSON": LyingEndpoint(status=401, body=IN_JSON),
    "a 401 cut within the key": LyingEndpoint(status=401, body=PADDED),
    "a 500's body": LyingEndpoint(status=500, body="<pre>{key}</pre>"),
    "a reason": LyingEndpoint(status=403, reason="no {key} here"),
    "a redirect": LyingEndpoint(status=302, headers={"Location": "https://h/?k={key}"}),
    "a content type": LyingEndpoint(headers={"Content-Type": "text/{key}"}),
    "an error event": LyingEndpoint(event='{"error":{"message":"denied {key}"}}'),
    "an escaped error event": LyingEndpoint(event='{"error":"{escaped}"}'),
    "an event of no JSON": LyingEndpoint(event="{key}"),
    "a finish reason": LyingEndpoint(finish_reason="{key}"),
    "a count of tokens": LyingEndpoint(completion_tokens='"{key}"'),
    "a version": LyingEndpoint(version="0.18+{key}"),
    "a model's name": LyingEndpoint(model="m-{key}"),
    "a metric's label": LyingEndpoint(
        metrics='vllm:num_requests_running{engine="{key}"} 1\n'
        'vllm:generation_tokens_total{engine="{key}"} 9\n'
    ),
}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def described(study: object) -> dict[str, object]:
        return {}

    monkeypatch.setattr("orchestrator.study.environment_of", described)
    monkeypatch.setattr("orchestrator.measure.http_session.ENGINE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(secrets, "_hidden", set())
    monkeypatch.delenv("MOESERVE_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)


def said(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit):
        main(words)
        raise SystemExit(0)
    shown = capfd.readouterr()
    return shown.out + shown.err


def written(root: Path) -> bytes:
    names = "".join(str(path) for path in root.rglob("*"))
    return names.encode() + b"".join(p.read_bytes() for p in root.rglob("*") if p.is_file())


def leaks(text: str) -> list[str]:
    """Return what of the key is in a text: all of it, in any form, or a telling part."""
    forms = (CANARY, CANARY.replace("/", "\\/"), "7f3a9c", "canary%2F", "canary/")
    return [form for form in forms if form in text]


@pytest.mark.parametrize("place", ECHOES)
@pytest.mark.parametrize("by_file", [False, True], ids=["variable", "file"])
def test_an_echoed_key_is_in_nothing_written_or_shown(
    place: str,
    by_file: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    how = []
    if by_file:
        key = tmp_path / "key"
        key.write_text(CANARY + "\n")
        how = ["--api-key-file", str(key)]
    else:
        monkeypatch.setenv("MOESERVE_API_KEY", CANARY)
    root = tmp_path / "out"
    lies = ECHOES[place]
    lies.answers = 0
    with served_aside(lies) as endpoint:
        told = said(
            capfd,
            *("run", "--endpoint", endpoint.url, *how, "-w", "16:8:6", "-c", "1", "-o", str(root)),
            *("--num-warmups", "1"),
        )
    assert leaks(told) == []
    assert "Traceback" not in told
    if root.is_dir():
        for words in (
            ["results", str(root), "--format", "json"],
            ["results", str(root), "--requests"],
        ):
            assert leaks(said(capfd, *words)) == []
        assert leaks(written(root).decode(errors="replace")) == []


def test_a_key_comes_back_and_would_be_seen(tmp_path: Path) -> None:
    """The echo works: without masking each place above would hold the key."""
    for place, lies in ECHOES.items():
        held = json.dumps([lies.body, lies.event, lies.finish_reason, lies.version, lies.model,
                           lies.reason, lies.metrics, lies.completion_tokens,
                           dict(lies.headers)])  # fmt: skip
        assert "{key}" in held or "{escaped}" in held, place


def test_a_failed_quality_probe_does_not_show_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOESERVE_API_KEY", CANARY)
    text = tmp_path / "text.txt"
    text.write_text("some words " * 100)
    root = tmp_path / "out"
    with served_aside(LyingEndpoint(tokenize="you sent Bearer {key}")) as endpoint:
        told = said(
            capfd, "quality", "--endpoint", endpoint.url, "--text", str(text), "-o", str(root)
        )
    assert "you sent" in told
    assert leaks(told) == []
    assert leaks(written(root).decode(errors="replace")) == []
