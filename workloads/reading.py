"""Reading answers: one read, one stamp, one line in the log, and a look for the answer's end."""

import os
from collections.abc import Callable
from time import perf_counter

from workloads.connection import READ_BYTES, Connection
from workloads.exchange import Exchange
from workloads.poller import READ, Ready
from workloads.pool import Pool
from workloads.readlog import ReadLog

BLANK_LINE = b"\r\n\r\n"
LAST_CHUNK = b"\r\n0\r\n\r\n"
DONE_END = b"data: [DONE]\n\n" + LAST_CHUNK
SHORTEST_SURE = len(LAST_CHUNK)
"""A read of this many bytes cannot hide part of the last chunk's end in the read before it."""
HEAD_BYTES = 4_096
CAPITAL_H = ord("H")
"""How a head begins, and no chunk."""


class Reader:
    """Reads what the poller found; tells of answers that ended and of connections that broke."""

    def __init__(
        self,
        pool: Pool,
        log: ReadLog,
        *,
        secure: bool,
        ended: Callable[[Connection, Exchange], None],
        closed: Callable[[Connection, Exchange], None],
        lost: Callable[[Connection, OSError], None],
    ) -> None:
        self._pool, self._log, self._secure = pool, log, secure
        self._ended, self._closed, self._lost = ended, closed, lost
        self._direct: set[int] = set()
        self.read = self._read_with_care if secure else self._read_fast
        """The way to read what is ready; the fast one unless something needs more care."""

    def release(self, connection: Connection) -> None:
        """Let a connection go of its exchange."""
        connection.release()
        connection.direct = False
        if connection.fd in self._direct:
            self._direct.discard(connection.fd)
            self._choose()

    def _choose(self) -> None:
        careful = self._secure or bool(self._direct)
        self.read = self._read_with_care if careful else self._read_fast

    def _read_fast(self, ready: Ready) -> None:
        """Read, stamp and log: the only code that runs for every token."""
        log = self._log.now
        log_data, log_fd, log_stamp = log.datas.append, log.fds.append, log.stamps.append
        read, clock, blank_line = os.read, perf_counter, BLANK_LINE
        for fd, mask in ready:
            if mask != READ:
                self._unusual(fd)
            try:
                data = read(fd, READ_BYTES)
            except OSError as error:
                self._no_read(fd, error)
                continue
            log_stamp(clock())
            log_fd(fd)
            log_data(data)
            if (
                not SHORTEST_SURE <= len(data) < READ_BYTES
                or data[0] == CAPITAL_H
                or data.endswith(blank_line)
            ):
                self._look(self._pool.table[fd], data)

    def _read_with_care(self, ready: Ready) -> None:
        """The same for TLS and for answers that are decoded as they are read."""
        log = self._log.now
        for fd, mask in ready:
            connection = self._pool.table[fd]
            if mask != READ:
                self._unusual(fd)
            try:
                data = connection.recv(READ_BYTES)
            except OSError as error:
                self._no_read(fd, error)
                continue
            log.stamps.append(perf_counter())
            log.fds.append(fd)
            log.datas.append(data)
            self._look(connection, data)

    def _no_read(self, fd: int, error: OSError) -> None:
        if not isinstance(error, BlockingIOError):
            self._lost(self._pool.table[fd], error)

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
            self._closed(connection, exchange)
        elif exchange.fresh:
            self._look_at_head(connection, exchange, data)
        elif connection.direct or self._doubtful(data):
            self.decode_now(connection, exchange)
        elif data.endswith(DONE_END):
            self._ended(connection, exchange)

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
            self._ended(connection, exchange)
        elif data.endswith(LAST_CHUNK):
            self.decode_now(connection, exchange)

    def decode_now(self, connection: Connection, exchange: Exchange) -> None:
        """Decode all that was read of an answer, and from now on each read as it comes."""
        if not connection.direct:
            connection.direct = True
            self._direct.add(connection.fd)
            self._choose()
        self._log.withdraw(exchange)
        exchange.decode()
        if exchange.decoder.complete:
            self._ended(connection, exchange)


def _plain(head: bytes) -> bool:
    """Tell whether a whole head promises a chunked 200: its last read shows its end."""
    return (
        head.startswith(b"http/1.1 200")
        and b"\r\ntransfer-encoding: chunked\r\n" in head
        and BLANK_LINE in head
    )
