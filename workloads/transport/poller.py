"""Many sockets behind one file descriptor that any asyncio loop can watch."""

import select
import selectors
import sys
from typing import Protocol

READ = 1
WRITE = 4
"""The bits of epoll's EPOLLIN and EPOLLOUT."""

ReadyEvents = list[tuple[int, int]]


class Poller(Protocol):
    """The part of `select.epoll` that a client uses."""

    def poll(self, timeout: float = ..., maxevents: int = ...) -> ReadyEvents: ...
    def register(self, fd: int, eventmask: int = ...) -> None: ...
    def modify(self, fd: int, eventmask: int) -> None: ...
    def unregister(self, fd: int) -> None: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...


class SelectorPoller:
    """The same over `selectors`, for systems without epoll."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def poll(self, timeout: float = -1, maxevents: int = -1) -> ReadyEvents:  # noqa: ARG002 - epoll's
        found = self._selector.select(None if timeout < 0 else timeout)
        return [(key.fd, _mask(events)) for key, events in found]

    def register(self, fd: int, eventmask: int = READ) -> None:
        self._selector.register(fd, _events(eventmask))

    def modify(self, fd: int, eventmask: int) -> None:
        self._selector.modify(fd, _events(eventmask))

    def unregister(self, fd: int) -> None:
        self._selector.unregister(fd)

    def fileno(self) -> int:
        return self._selector.fileno()

    def close(self) -> None:
        self._selector.close()


def _events(mask: int) -> int:
    return (selectors.EVENT_READ if mask & READ else 0) | (
        selectors.EVENT_WRITE if mask & WRITE else 0
    )


def _mask(events: int) -> int:
    return (READ if events & selectors.EVENT_READ else 0) | (
        WRITE if events & selectors.EVENT_WRITE else 0
    )


def open_poller() -> Poller:
    return select.epoll() if sys.platform == "linux" else SelectorPoller()
