"""Connections that are open before they are due."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress

from workloads.protocol.exchange import Exchange
from workloads.transport.connection import Connection, Connector
from workloads.transport.poller import READ, WRITE, Poller

OPENING_AT_ONCE = 256


class ConnectionPool:
    """Open connections by file descriptor, the idle among them, and those being opened.

    `ready` is told of the connection that was opened for an exchange, `failed` why none was.
    """

    def __init__(
        self,
        connector: Connector,
        poller: Poller,
        *,
        ready: Callable[[Connection, Exchange], None],
        failed: Callable[[Exchange, BaseException], None],
    ) -> None:
        self._connector, self._poller = connector, poller
        self._ready, self._failed = ready, failed
        self._tasks: set[asyncio.Task[None]] = set()
        self._gate = asyncio.Semaphore(OPENING_AT_ONCE)
        self.table: dict[int, Connection] = {}
        self.idle: deque[Connection] = deque()
        self.opening = 0
        self.connects = 0

    async def fill(self, count: int) -> None:
        """Open `count` idle connections; what cannot be opened now is tried again when due."""
        self.replenish(count)
        await asyncio.gather(*self._tasks)

    def replenish(self, wanted: int) -> None:
        """Begin to open connections until `wanted` are open or being opened."""
        for _ in range(wanted - len(self.table) - self.opening):
            self._begin(self._open_idle())

    def open_for(self, exchange: Exchange) -> None:
        """Begin to open a connection for an exchange that is due."""
        self._begin(self._open_due(exchange))

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        self.opening += 1
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open_idle(self) -> None:
        with suppress(OSError):
            self.idle.append(await self._open())

    async def _open_due(self, exchange: Exchange) -> None:
        try:
            connection = await self._open()
        except (OSError, asyncio.CancelledError) as error:
            self._failed(exchange, error)
        else:
            self._ready(connection, exchange)

    async def _open(self) -> Connection:
        try:
            async with self._gate:
                connection = await self._connector.open()
        finally:
            self.opening -= 1
        self.connects += 1
        self.table[connection.fd] = connection
        self._poller.register(connection.fd, READ)
        return connection

    def watch_writes(self, connection: Connection, *, wanted: bool) -> None:
        self._poller.modify(connection.fd, READ | WRITE if wanted else READ)

    def drop(self, connection: Connection) -> None:
        """Close a connection, idle or not."""
        if self.table.pop(connection.fd, None) is None:
            return
        with suppress(ValueError):
            self.idle.remove(connection)
        with suppress(OSError):
            self._poller.unregister(connection.fd)
        connection.sock.close()

    async def give_up_opening(self) -> None:
        """Cancel the connections being opened; what they were for fails."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        await self.give_up_opening()
        for connection in list(self.table.values()):
            self.drop(connection)
