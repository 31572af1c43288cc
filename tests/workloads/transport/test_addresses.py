"""A name with several addresses: connections take turns, and a dead one is left out."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from workloads.transport.connection import Connector
from workloads.transport.target import Target

Listening = tuple[int, list[str]]


@pytest.fixture
async def listening() -> AsyncIterator[Listening]:
    """A server on every address of loopback; its port, and at which it was reached."""
    reached: list[str] = []

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(writer.get_extra_info("sockname")[0])
        writer.close()

    server = await asyncio.start_server(note, "0.0.0.0")
    async with server:
        yield server.sockets[0].getsockname()[1], reached


def connector_to(port: int) -> Connector:
    target = Target(base_url=f"http://name:{port}", model="m")
    return Connector(target, asyncio.get_running_loop())


async def opened(port: int, hosts: list[str], count: int) -> None:
    connector = connector_to(port)
    connector._addresses = [(socket.AF_INET, (host, port)) for host in hosts]
    for _ in range(count):
        connection = await connector.open()
        connection.sock.close()
    await asyncio.sleep(0.05)


async def test_each_connection_takes_the_next_address(listening: Listening) -> None:
    port, reached = listening
    await opened(port, ["127.0.0.1", "127.0.0.2", "127.0.0.3"], 6)
    assert sorted(reached) == sorted(["127.0.0.1", "127.0.0.2", "127.0.0.3"] * 2)


async def test_an_address_where_nobody_listens_is_tried_once(listening: Listening) -> None:
    port, reached = listening
    connector = connector_to(port)
    dead = (socket.AF_INET, ("127.0.0.1", 9))
    connector._addresses = [dead, (socket.AF_INET, ("127.0.0.2", port))]
    for _ in range(2):
        (await connector.open()).sock.close()
        assert dead not in connector._addresses
    await asyncio.sleep(0.05)
    assert reached == ["127.0.0.2"] * 2
