"""Reading answers: one read, one stamp, one line in the log, and a look for the answer's end."""

import os
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from workloads.connection import READ_BYTES, Connection
from workloads.exchange import Exchange
from workloads.poller import READ, Ready
from workloads.pool import Pool
from workloads.readlog import ReadLog
from workloads.waiting import Waiting

if TYPE_CHECKING:
    from workloads._native import Reader as CompiledReader

BLANK_LINE = b"\r\n\r\n"
LAST_CHUNK = b"\r\n0\r\n\r\n"
DONE_END = b"data: [DONE]\n\n" + LAST_CHUNK
SHORTEST_SURE = len(LAST_CHUNK)
"""A read of this many bytes cannot hide part of the last chunk's end in the read before it."""
HEAD_BYTES = 4_096
CAPITAL_H = ord("H")
"""How a head begins, and no chunk."""
EVENTS_A_POLL = 512
WOKEN = -2


class Listener(Protocol):
    """Who is told how answers end."""

    def answered(self, connection: Connection, exchange: Exchange) -> None:
        """The answer is complete, or hopeless."""

    def closed(self, connection: Connection, exchange: Exchange) -> None:
        """The server has closed the connection under an answer, or as its end."""

    def lost(self, connection: Connection, error: OSError) -> None:
        """The connection broke."""


class Reader:
    """Reads what the poller finds; tells of answers that ended and of connections that broke."""

    def __init__(
        self, pool: Pool, log: ReadLog, waiting: Waiting, listener: Listener, *, secure: bool
    ) -> None:
        self._pool, self._log, self._secure = pool, log, secure
        self._poll, self._compiled = waiting.poller.poll, waiting.compiled
        self._listener = listener
        self._direct: set[int] = set()
        self.woken = False
        """True if the last reading ended because the loop has something to do."""

    @property
    def careful(self) -> bool:
        """Whether every read is looked at: TLS, and answers that are decoded as they come."""
        return self._secure or bool(self._direct)

    def release(self, connection: Connection) -> None:
        """Let a connection go of its exchange."""
        connection.release()
        connection.direct = False
        self._direct.discard(connection.fd)

    def read(self, until: float) -> int:
        """Read what has arrived; return how many reads that were.

        Where it can, wait until the instant `until` for more, or until there is more to do than
        to read: an answer's begin or end, the loop's own work, a full log.
        """
        if self._compiled is not None and not self.careful:
            return self._read_compiled(self._compiled, until)
        ready = self._poll(0, EVENTS_A_POLL)
        (self._read_with_care if self.careful else self._read_fast)(ready)
        return len(ready)

    def _read_compiled(self, reader: "CompiledReader", until: float) -> int:
        log = self._log.now
        before = len(log.datas)
        while (fd := reader.read(log.datas, log.fds, log.stamps, self._log.limit, until)) >= 0:
            self._attend(fd, reader.error, reader.mask)
            until = 0.0
            if self.careful:
                break
        self.woken = fd == WOKEN
        # By the next reading a socket told of now may be closed, and its number somebody else's.
        reader.forget()
        return len(log.datas) - before

    def _attend(self, fd: int, error: int, mask: int) -> None:
        """See to a socket that the compiled reader came back for."""
        if error:
            self._no_read(fd, OSError(error, os.strerror(error)))
        elif mask != READ:
            self._unusual(fd)
        else:
            self._look(self._pool.table[fd], self._log.now.datas[-1])

    def _read_fast(self, ready: Ready) -> None:
        """Read, stamp and log: the only code that runs for every token."""
        log = self._log.now
        log_data, fds, stamps = log.datas.append, log.fds, log.stamps
        read, clock, blank_line = os.read, perf_counter, BLANK_LINE
        for fd, mask in ready:
            if mask != READ:
                self._unusual(fd)
            try:
                data = read(fd, READ_BYTES)
            except OSError as error:
                self._no_read(fd, error)
                continue
            count = len(log.datas)
            stamps[count] = clock()
            fds[count] = fd
            log_data(data)
            if (
                not SHORTEST_SURE <= len(data) < READ_BYTES
                or data[0] == CAPITAL_H
                or data.endswith(blank_line)
            ):
                self._look(self._pool.table[fd], data)

    def _read_with_care(self, ready: Ready) -> None:
        """The same for TLS and for answers that are decoded as they are read."""
        for fd, mask in ready:
            connection = self._pool.table[fd]
            if mask != READ:
                self._unusual(fd)
            try:
                data = connection.recv(READ_BYTES)
            except OSError as error:
                self._no_read(fd, error)
                continue
            self._log.now.add(fd, data, perf_counter())
            self._look(connection, data)

    def _no_read(self, fd: int, error: OSError) -> None:
        if not isinstance(error, BlockingIOError):
            self._listener.lost(self._pool.table[fd], error)

    def _unusual(self, fd: int) -> None:
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

    def _look(self, connection: Connection, data: bytes) -> None:
        """Find out whether the answer is complete, as cheaply as its form allows."""
        exchange = connection.exchange
        if exchange is None:
            self._pool.drop(connection)
        elif not data:
            self._listener.closed(connection, exchange)
        elif exchange.fresh:
            self._look_at_head(connection, exchange, data)
        elif connection.direct or self._doubtful(data):
            self.decode_now(connection, exchange)
        elif data.endswith(DONE_END):
            self._listener.answered(connection, exchange)

    def _doubtful(self, data: bytes) -> bool:
        """Tell whether a read may be the end of its answer without looking like it."""
        if len(data) == READ_BYTES:
            self._log.flooded()
        if data.endswith(BLANK_LINE):
            return not data.endswith(DONE_END)
        return len(data) < SHORTEST_SURE

    def _look_at_head(self, connection: Connection, exchange: Exchange, data: bytes) -> None:
        """Choose by an answer's first read how the others must be read."""
        exchange.fresh = False
        head = data[:HEAD_BYTES].lower()
        connection.closing = b"\r\nconnection: close" in head
        if not _plain(head):
            self.decode_now(connection, exchange)
        elif data.endswith(DONE_END):
            self._listener.answered(connection, exchange)
        elif data.endswith(LAST_CHUNK):
            self.decode_now(connection, exchange)

    def decode_now(self, connection: Connection, exchange: Exchange) -> None:
        """Decode all that was read of an answer, and from now on each read as it comes."""
        if not connection.direct:
            connection.direct = True
            self._direct.add(connection.fd)
        self._log.withdraw(exchange)
        exchange.decode()
        if exchange.decoder.complete:
            self._listener.answered(connection, exchange)


def _plain(head: bytes) -> bool:
    """Tell whether a whole head promises a chunked 200: its last read shows its end."""
    return (
        head.startswith(b"http/1.1 200")
        and b"\r\ntransfer-encoding: chunked\r\n" in head
        and BLANK_LINE in head
    )
