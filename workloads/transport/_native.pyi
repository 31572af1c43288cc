from array import array

class Reader:
    """Reads what an epoll finds into the log; `wake` is a file whose readiness ends a wait."""

    def __init__(self, epoll: int, wake: int) -> None: ...
    error: int
    """Why the socket could not be read, as `errno`; 0 if it was."""
    mask: int
    """What epoll said of the socket."""
    timer: int
    """A file that must be in the epoll for waits to end in time."""
    waited_s: float
    """Time spent waiting so far."""

    def read(
        self, datas: list[bytes], fds: array[int], stamps: array[float], limit: int, until: float, /
    ) -> int:
        """Return a socket that must be looked at, or -1: nothing more, -2: woken, -3: log full."""

    def forget(self) -> None:
        """Drop the events that are not yet dealt with; epoll tells them again."""

    def close(self) -> None: ...

def send_all(fds: list[int], payloads: list[bytes], /) -> tuple[list[float], list[tuple[int, int]]]:
    """Send a payload to each socket; return when each was sent, and (index, bytes or -errno) of
    those that did not take all of theirs."""
