"""Network interfaces: over which the parts of a server on several nodes talk, and whose it is."""

import socket
from collections.abc import Mapping
from ipaddress import ip_address

import psutil

from catalog.errors import UnknownName

NAMED = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME")
"""What NCCL (and RCCL), Gloo and TensorPipe call it."""
UCX = "UCX_NET_DEVICES"


def interface_variables(name: str | None, ucx_devices: str | None = None) -> Mapping[str, str]:
    """Return the variables that keep a server to an interface; they are recorded with its runs.

    NCCL takes every interface whose name begins so, unless it begins with `=`. UCX has names of its
    own (`mlx5_0:1`): an Ethernet name there would keep it off InfiniBand.
    """
    named = {} if name is None else {**dict.fromkeys(NAMED[1:], name), NAMED[0]: f"={name}"}
    return {**named, **({} if ucx_devices is None else {UCX: ucx_devices})}


def address_of(name: str) -> str:
    """Return this host's IPv4 address on an interface, at which others can reach it.

    UnknownName where it has no such one; loopback is none, whatever it is called.
    """
    found = {
        interface: address.address
        for interface, addresses in psutil.net_if_addrs().items()
        for address in addresses
        if address.family == socket.AF_INET and not ip_address(address.address).is_loopback
    }
    if name not in found:
        at = f"with an IPv4 address on {socket.gethostname()}"
        raise UnknownName(f"network interface {at}", name, found)
    return found[name]


def interface_of(address: str) -> dict[str, str | int | None] | None:
    """Return name and speed (Mbit/s; None where the driver does not say) of what has an address.

    None where no interface of this host has it.
    """
    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address.partition("%")[0] == address for each in addresses):
            stats = psutil.net_if_stats().get(name)
            return {"interface": name, "mbit_per_s": stats.speed or None if stats else None}
    return None
