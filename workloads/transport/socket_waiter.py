"""Who waits for the sockets: the asyncio loop, or the compiled reader with an eye on the loop."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from workloads.transport.poller import READ, Poller

if TYPE_CHECKING:
    from workloads.transport._native import Reader as CompiledReader

UNKNOWN = -1


class SocketWaiter:
    """Moves the wait to and fro; either poller watches the other, never both."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, poller: Poller, turn: Callable[[], None]
    ) -> None:
        self._loop, self._turn = loop, turn
        self.poller = poller
        self._loop_fd = _poller_of(loop)
        self.compiled = _compiled_reader(poller.fileno(), self._loop_fd)
        self._held = self._armed = self._ended = False

    @property
    def possible(self) -> bool:
        """Whether there is a reader that can wait, and a loop that can call it."""
        return self.compiled is not None and self._loop_fd != UNKNOWN

    @property
    def waited_s(self) -> float:
        return 0.0 if self.compiled is None else self.compiled.waited_s

    def begin(self) -> None:
        self._loop.add_reader(self.poller.fileno(), self._turn)

    def hold(self) -> None:
        """Let the reader wait, in turns that follow each other."""
        if not self._held and self.compiled is not None:
            self._loop.remove_reader(self.poller.fileno())
            self.poller.register(self._loop_fd, READ)
            self.poller.register(self.compiled.timer, READ)
            self._held = True

    def release(self) -> None:
        """Let the loop wait."""
        if self._held and self.compiled is not None:
            self.poller.unregister(self._loop_fd)
            self.poller.unregister(self.compiled.timer)
            self._held = False
            self.begin()

    def again(self, *, after: int = 0) -> None:
        """Have another turn when the loop has gone round `after` times more."""
        if not self._armed:
            self._armed = True
            self._loop.call_soon(self._next, after)

    def _next(self, after: int) -> None:
        if after:
            self._loop.call_soon(self._next, after - 1)
            return
        self._armed = False
        if not self._ended:
            self._turn()

    def end(self) -> None:
        self._ended = True
        self.release()
        self._loop.remove_reader(self.poller.fileno())
        if self.compiled is not None:
            self.compiled.close()


def _poller_of(loop: asyncio.AbstractEventLoop) -> int:
    """Return what the loop itself waits on, which neither uvloop nor asyncio tells officially."""
    if (backend := getattr(loop, "_get_backend_id", None)) is not None:
        return int(backend())
    selector = getattr(loop, "_selector", None)
    return UNKNOWN if selector is None else int(selector.fileno())


def _compiled_reader(epoll: int, loop_fd: int) -> "CompiledReader | None":
    """Return the compiled reader; None where it was not built: no C compiler, or not Linux."""
    try:
        from workloads.transport._native import Reader as CompiledReader
    except ImportError:
        return None
    return CompiledReader(epoll, loop_fd)
