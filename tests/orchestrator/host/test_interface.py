import socket
from types import SimpleNamespace

import psutil
import pytest

from catalog.errors import UnknownName
from orchestrator.host.interface import address_of, interface_variables


def test_an_interface_is_named_to_each_library_in_its_own_way() -> None:
    assert interface_variables("ib0", "mlx5_0:1") == {
        "NCCL_SOCKET_IFNAME": "=ib0",  # and no other whose name begins so
        "GLOO_SOCKET_IFNAME": "ib0",
        "TP_SOCKET_IFNAME": "ib0",
        "UCX_NET_DEVICES": "mlx5_0:1",
    }
    assert interface_variables(None) == {}
    assert "UCX_NET_DEVICES" not in interface_variables("eth0"), "it would keep UCX off InfiniBand"


def test_the_address_is_that_of_the_interface_and_never_loopback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def at(address: str, family: int = socket.AF_INET) -> SimpleNamespace:
        return SimpleNamespace(family=family, address=address)

    found = {
        "lo": [at("127.0.0.1"), at("127.0.1.1")],
        "ib0": [at("fe80::1", socket.AF_INET6), at("10.1.0.7")],
    }
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: found)
    assert address_of("ib0") == "10.1.0.7"
    with pytest.raises(UnknownName, match=r"Did you mean ib0\? Allowed: ib0\."):
        address_of("ib1")
    with pytest.raises(UnknownName, match="unknown network interface"):
        address_of("lo")
