import pytest

from orchestrator.engines.endpoint.access import plain_key
from orchestrator.experiment.experiment import Experiment


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://10.0.0.7:8000", "10.0.0.7"),
        ("http://gpu-node:8000/v1", "gpu-node"),
        ("http://[2001:db8::1]:8000", "2001:db8::1"),
        ("https://gpu-node:8000", ""),
        ("http://localhost:8000", ""),
        ("http://127.0.0.1:8000", ""),
        ("http://127.9.9.9:8000", ""),
        ("http://[::1]:8000", ""),
        ("unix:/run/s.sock", ""),
    ],
)
def test_a_key_over_plain_http_to_another_host_is_said(
    url: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MOESERVE_API_KEY", raising=False)
    assert plain_key(Experiment(endpoint=url)) == ""
    monkeypatch.setenv("MOESERVE_API_KEY", "canary-key-123")
    said = plain_key(Experiment(endpoint=url))
    assert (f"the key goes to {told} over plain http" in said) if told else said == ""
    assert "canary" not in said
