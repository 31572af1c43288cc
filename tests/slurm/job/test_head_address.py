"""Where the other nodes of a job find its first, whatever that calls itself."""

import socket

import pytest

from catalog.errors import ClusterError
from slurm.job.ray_allocation import address_of_head


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A name service of these names, and a host called n1."""
    known: dict[str, str] = {}

    def resolve(name: str) -> str:
        try:
            return known[name]
        except KeyError:
            raise OSError(f"{name} is not known") from None

    monkeypatch.setattr(socket, "gethostbyname", resolve)
    monkeypatch.setattr(socket, "gethostname", lambda: "n1")
    return known


def ways(monkeypatch: pytest.MonkeyPatch, own: dict[str, str]) -> None:
    """Let this host have one address towards each of these hosts."""

    class Probe:
        def __init__(self, *_: object) -> None:
            self.way = ""

        def __enter__(self) -> "Probe":
            return self

        def __exit__(self, *_: object) -> None: ...

        def connect(self, to: tuple[str, int]) -> None:
            if to[0] not in own:
                raise OSError("no route")
            self.way = own[to[0]]

        def getsockname(self) -> tuple[str, int]:
            return self.way, 1

    monkeypatch.setattr(socket, "socket", Probe)


def test_a_name_that_leads_here_from_outside_is_taken(names: dict[str, str]) -> None:
    names["n1"] = "10.0.0.1"
    assert address_of_head(["n1", "n2"]) == "10.0.0.1"
    names.clear()
    names["n1"] = "10.0.0.7"
    assert address_of_head(["alias-of-slurm-s", "n2"]) == "10.0.0.7", "by the host's own name"


def test_a_host_that_calls_itself_loopback_is_found_on_its_way_to_the_others(
    names: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names["n1"] = "127.0.1.1"
    ways(monkeypatch, {"n3": "10.0.0.1"})
    assert address_of_head(["n1", "n2", "n3"]) == "10.0.0.1"


def test_without_a_way_out_the_start_is_refused_at_once_with_the_cause(
    names: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names["n1"] = "127.0.1.1"
    ways(monkeypatch, {"n2": "127.0.0.1"})
    with pytest.raises(ClusterError, match=r"n1 calls itself 127\.0\.1\.1.*leads to n2"):
        address_of_head(["n1", "n2"])
    names.clear()
    with pytest.raises(ClusterError, match="calls itself nothing"):
        address_of_head(["n1", "n2"])
