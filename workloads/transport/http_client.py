"""How an HTTP client beside the measured path reaches the same target."""

from typing import TYPE_CHECKING

from workloads.transport.target import Target
from workloads.transport.tls import tls_context

if TYPE_CHECKING:
    import aiohttp


def connector_of(target: Target) -> "aiohttp.BaseConnector | None":
    """Return what opens its connections: to a socket's path, or with its certificates."""
    import aiohttp  # here, for a simulated study asks no server and need not wait for a client

    if target.unix_path is not None:
        return aiohttp.UnixConnector(target.unix_path)
    if not target.secure or not (target.ca_file or target.insecure):
        return None
    return aiohttp.TCPConnector(ssl=tls_context(target.ca_file, insecure=target.insecure))
