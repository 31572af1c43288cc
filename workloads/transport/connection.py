"""One connection of the measured path: a non-blocking socket and what is read from it."""

import asyncio
import socket
import ssl
from collections.abc import Callable

from workloads.protocol.exchange import Exchange
from workloads.transport.target import Target
from workloads.transport.tls import tls_context

READ_BYTES = 65_536

Address = tuple[int, tuple[str | int | bytes, ...] | str]


class Connection:
    """A socket, the exchange it carries, and how its answer must be read."""

    __slots__ = (
        "closing",
        "decodes_inline",
        "exchange",
        "fd",
        "recv",
        "send",
        "served",
        "sock",
        "unsent",
    )

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        secure = isinstance(sock, ssl.SSLSocket)
        self.recv: Callable[[int], bytes] = _tls_recv(sock) if secure else sock.recv
        self.send: Callable[[bytes | memoryview], int] = _tls_send(sock) if secure else sock.send
        self.exchange: Exchange | None = None
        self.decodes_inline = False
        """True while each read is decoded at once: bodies that are not plain chunked SSE."""
        self.closing = False
        """True if the server has said that it will close after this answer."""
        self.served = 0
        self.unsent: memoryview | None = None

    def assign(self, exchange: Exchange) -> None:
        """Take an exchange on; what is read from now on is its answer."""
        self.exchange = exchange
        exchange.fd = self.fd

    def release(self) -> None:
        """Let go of the exchange; whatever is read now is unasked for."""
        self.exchange = None
        self.served += 1


def _tls_recv(sock: socket.socket) -> Callable[[int], bytes]:
    def recv(size: int) -> bytes:
        try:
            data = sock.recv(size)
            # What OpenSSL has already decrypted does not make the socket readable again.
            while isinstance(sock, ssl.SSLSocket) and sock.pending():
                data += sock.recv(size)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        return data

    return recv


def _tls_send(sock: socket.socket) -> Callable[[bytes | memoryview], int]:
    def send(data: bytes | memoryview) -> int:
        try:
            return sock.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None

    return send


class Connector:
    """Opens connections to a target: addresses resolved once, no proxies, Nagle off.

    Of several addresses each connection takes the next, so that all servers behind a name are
    measured; one that fails while another answers is left out from then on.
    """

    def __init__(self, target: Target, loop: asyncio.AbstractEventLoop) -> None:
        self._target, self._loop = target, loop
        self._addresses: list[Address] = []
        self._tls = _tls_context(target) if target.secure else None

    async def resolve(self) -> None:
        """Find the target's addresses; raises OSError if it has none."""
        path = self._target.unix_path
        if path is not None:
            self._addresses = [(socket.AF_UNIX, path)]
            return
        host, port = self._target.address
        found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        self._addresses = [(family, tuple(place)) for family, _, _, _, place in found]

    async def open(self) -> Connection:
        """Open one connection; raises OSError or TimeoutError."""
        async with asyncio.timeout(self._target.connect_timeout_s):
            if not self._addresses:
                await self.resolve()
            return Connection(await self._secured(await self._connected()))

    async def _connected(self) -> socket.socket:
        failure: OSError = ConnectionError("no address")
        failed: list[Address] = []
        for address in list(self._addresses):
            try:
                sock = await self._connect(address)
            except OSError as error:
                failure = error
                failed.append(address)
            else:
                self._rotate(address, failed)
                return sock
        raise failure

    def _rotate(self, used: Address, failed: list[Address]) -> None:
        """Put the address that was used last, and leave out those that failed before it."""
        left = [each for each in self._addresses if each != used and each not in failed]
        self._addresses = [*left, used]

    async def _connect(self, address: Address) -> socket.socket:
        family, place = address
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            if family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.sock_connect(sock, place)
        except BaseException:
            sock.close()
            raise
        return sock

    async def _secured(self, sock: socket.socket) -> socket.socket:
        if self._tls is None:
            return sock
        host, _ = self._target.address
        tls = self._tls.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
        try:
            await self._handshake(tls)
        except BaseException:
            tls.close()
            raise
        return tls

    async def _handshake(self, tls: ssl.SSLSocket) -> None:
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._wait(self._loop.add_reader, self._loop.remove_reader, tls.fileno())
            except ssl.SSLWantWriteError:
                await self._wait(self._loop.add_writer, self._loop.remove_writer, tls.fileno())
            else:
                return

    async def _wait(self, add: Callable[..., None], remove: Callable[[int], bool], fd: int) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        add(fd, _settle, ready)
        try:
            await ready
        finally:
            remove(fd)


def _settle(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)


def _tls_context(target: Target) -> ssl.SSLContext:
    context = tls_context(target.ca_file, insecure=target.insecure)
    context.set_alpn_protocols(["http/1.1"])
    return context
