"""Reading answers: one read, one stamp, one entry in the trace, and a look for the answer's end."""

import os
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from workloads.protocol.exchange import Exchange
from workloads.transport.connection import READ_BYTES, Connection
from workloads.transport.poller import READ, ReadyEvents
from workloads.transport.pool import ConnectionPool
from workloads.transport.socket_waiter import SocketWaiter
from workloads.transport.target import Target
from workloads.transport.trace import ReadTrace

if TYPE_CHECKING:
    from workloads.transport._native import Reader as CompiledReader

BLANK_LINE = b"\r\n\r\n"
LAST_CHUNK = b"\r\n0\r\n\r\n"
DONE_END = b"data: [DONE]\n\n" + LAST_CHUNK
SHORTEST_SURE = len(LAST_CHUNK)
"""A read of this many bytes cannot hide part of the last chunk's end in the read before it."""
HEAD_BYTES = 4_096
CAPITAL_H = ord("H")
"""How a head begins, and no chunk."""
EVENTS_PER_POLL = 512
WOKEN = -2
ENDED_PER_SEND = 8
"""Answers that ended, after which a reading stops so that what became due can be sent."""


class ResponseHandler(Protocol):
    """Who is told how answers end."""

    def answered(self, connection: Connection, exchange: Exchange) -> None:
        """The answer is complete, or sure to fail."""

    def left_open(self, connection: Connection, exchange: Exchange) -> None:
        """The stream is over and whole, but the server leaves the response open."""

    def closed(self, connection: Connection, exchange: Exchange) -> None:
        """The server has closed the connection under an answer, or as its end."""

    def lost(self, connection: Connection, error: OSError) -> None:
        """The connection broke."""


class Reader:
    """Reads what the poller finds; tells of answers that ended and of connections that broke."""

    def __init__(
        self,
        pool: ConnectionPool,
        trace: ReadTrace,
        waiting: SocketWaiter,
        listener: ResponseHandler,
        target: Target,
    ) -> None:
        self._pool, self._trace, self._secure = pool, trace, target.secure
        self._poll, self._compiled = waiting.poller.poll, waiting.compiled
        self._listener = listener
        self._direct: set[int] = set()
        self.ends_at_done = target.ends_at_done
        """True once the server is known to leave responses open behind a stream's end: then each
        read is decoded as it comes, to see that end."""
        self.woken = False
        """True if the last reading ended because the loop has something to do."""

    @property
    def checks_every_read(self) -> bool:
        """Whether every read is looked at: TLS, and answers that are decoded as they come."""
        return self._secure or bool(self._direct)

    def release(self, connection: Connection) -> None:
        """Let a connection go of its exchange."""
        connection.release()
        connection.decodes_inline = False
        self._direct.discard(connection.fd)

    def read(self, until: float) -> int:
        """Read what has arrived; return how many reads that were.

        Where it can, wait until the instant `until` for more, or until there is more to do than
        to read: an answer's begin or end, the loop's own work, a full segment.
        """
        if self._compiled is not None and not self.checks_every_read:
            return self._read_compiled(self._compiled, until)
        ready = self._poll(0, EVENTS_PER_POLL)
        (self._read_and_decode if self.checks_every_read else self._read_fast)(ready)
        return len(ready)

    def _read_compiled(self, reader: "CompiledReader", until: float) -> int:
        segment = self._trace.current
        before, idle = len(segment.datas), len(self._pool.idle)
        while (
            fd := reader.read(segment.datas, segment.fds, segment.stamps, self._trace.limit, until)
        ) >= 0:
            self._handle_socket(fd, reader.error, reader.mask)
            until = 0.0
            if len(self._pool.idle) - idle >= ENDED_PER_SEND or self.checks_every_read:
                break
        self.woken = fd == WOKEN
        # By the next reading a socket told of now may be closed, and its number somebody else's.
        reader.forget()
        return len(segment.datas) - before

    def _handle_socket(self, fd: int, error: int, mask: int) -> None:
        """See to a socket that the compiled reader came back for."""
        if error:
            self._on_read_error(fd, OSError(error, os.strerror(error)))
        elif mask != READ:
            self._on_other_events(fd)
        else:
            self._inspect(self._pool.table[fd], self._trace.current.datas[-1])

    def _read_fast(self, ready: ReadyEvents) -> None:
        """Read, stamp and log: the only code that runs for every token."""
        segment = self._trace.current
        log_data, fds, stamps = segment.datas.append, segment.fds, segment.stamps
        read, clock, blank_line = os.read, perf_counter, BLANK_LINE
        for fd, mask in ready:
            if mask != READ:
                self._on_other_events(fd)
            try:
                data = read(fd, READ_BYTES)
            except OSError as error:
                self._on_read_error(fd, error)
                continue
            count = len(segment.datas)
            stamps[count] = clock()
            fds[count] = fd
            log_data(data)
            if (
                not SHORTEST_SURE <= len(data) < READ_BYTES
                or data[0] == CAPITAL_H
                or data.endswith(blank_line)
            ):
                self._inspect(self._pool.table[fd], data)

    def _read_and_decode(self, ready: ReadyEvents) -> None:
        """The same for TLS and for answers that are decoded as they are read."""
        for fd, mask in ready:
            connection = self._pool.table[fd]
            if mask != READ:
                self._on_other_events(fd)
            try:
                data = connection.recv(READ_BYTES)
            except OSError as error:
                self._on_read_error(fd, error)
                continue
            self._trace.current.add(fd, data, perf_counter())
            self._inspect(connection, data)

    def _on_read_error(self, fd: int, error: OSError) -> None:
        if not isinstance(error, BlockingIOError):
            self._listener.lost(self._pool.table[fd], error)

    def _on_other_events(self, fd: int) -> None:
        """Go on with a request that did not fit into the socket's buffer in one piece."""
        connection = self._pool.table[fd]
        if connection.unsent is None:
            return
        try:
            sent = connection.send(connection.unsent)
        except OSError:
            # What is wrong with the connection is what reading it will tell.
            return
        rest = connection.unsent[sent:]
        connection.unsent = rest if len(rest) else None
        if connection.unsent is None:
            self._pool.watch_writes(connection, wanted=False)

    def _inspect(self, connection: Connection, data: bytes) -> None:
        """Find out whether the answer is complete, as cheaply as its form allows."""
        exchange = connection.exchange
        if exchange is None:
            self._pool.drop(connection)
        elif not data:
            self._listener.closed(connection, exchange)
        elif exchange.fresh:
            self._inspect_head(connection, exchange, data)
        elif connection.decodes_inline or self._may_end_answer(data):
            self.decode_now(connection, exchange)
        elif data.endswith(DONE_END):
            self._listener.answered(connection, exchange)

    def _may_end_answer(self, data: bytes) -> bool:
        """Tell whether a read may be the end of its answer without looking like it."""
        if len(data) == READ_BYTES:
            self._trace.shorten_segment()
        if data.endswith(BLANK_LINE):
            return not data.endswith(DONE_END)
        return len(data) < SHORTEST_SURE

    def _inspect_head(self, connection: Connection, exchange: Exchange, data: bytes) -> None:
        """Choose by an answer's first read how the others must be read."""
        exchange.fresh = False
        head = data[:HEAD_BYTES].lower()
        connection.closing = b"\r\nconnection: close" in head
        if self.ends_at_done or not _plain(head):
            self.decode_now(connection, exchange)
        elif data.endswith(DONE_END):
            self._listener.answered(connection, exchange)
        elif data.endswith(LAST_CHUNK):
            self.decode_now(connection, exchange)

    def decode_now(self, connection: Connection, exchange: Exchange) -> None:
        """Decode all that was read of an answer, and from now on each read as it comes."""
        if not connection.decodes_inline:
            connection.decodes_inline = True
            self._direct.add(connection.fd)
        self._trace.withdraw(exchange)
        exchange.decode()
        if exchange.decoder.complete:
            self._listener.answered(connection, exchange)
        elif exchange.decoder.said_done and self.ends_at_done:
            self._listener.left_open(connection, exchange)


def _plain(head: bytes) -> bool:
    """Tell whether a whole head promises a chunked 200: its last read shows its end."""
    return (
        head.startswith(b"http/1.1 200")
        and b"\r\ntransfer-encoding: chunked\r\n" in head
        and BLANK_LINE in head
    )
