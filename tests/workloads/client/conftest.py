import pytest


@pytest.fixture(params=["python", "compiled"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of reading: what is promised of one is promised of the other."""
    if request.param == "python":
        monkeypatch.setattr("workloads.transport.socket_waiter._compiled_reader", lambda *_: None)
    else:
        pytest.importorskip("workloads.transport._native", reason="needs a C compiler")
    return str(request.param)
