"""Signals to a task: USR2 says that the time is nearly over, TERM that it is over."""

import asyncio
import signal
from types import FrameType, TracebackType

from slurm.job.deadline import Deadline
from slurm.job.journal import Journal

SIGNALS = (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)


class SignalHandler:
    """Handles a task's signals; handlers run even while a computation keeps the loop busy."""

    def __init__(self, journal: Journal) -> None:
        self.stop = asyncio.Event()
        """Set when the run in hand must end."""
        self.terminated = False
        self.closing = False
        self.work: asyncio.Future[None] | None = None
        self._journal = journal
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deadline: Deadline | None = None
        self._lead_s = 0.0

    def __enter__(self) -> "SignalHandler":
        self._before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def start(self, deadline: Deadline, *, lead_s: float) -> None:
        """Begin to watch the time; signals that came before are handled now."""
        self._loop, self._deadline, self._lead_s = asyncio.get_running_loop(), deadline, lead_s
        self._watch_time()
        if self.closing or self.terminated:
            self._loop.call_soon(self._handle)

    def may_start(self, deadline: Deadline, expected_s: float | None) -> bool:
        """Return whether another run may start; once False, it stays so."""
        if not self.closing and not self.terminated and not deadline.fits(expected_s):
            self.closing = True
            self._journal.write("told", text="no further run fits the time that is left")
        return not self.closing and not self.terminated

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGUSR2:
            self.closing = True
        else:
            self.terminated = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._handle, signal.Signals(number).name)

    def _handle(self, name: str = "a signal before the start") -> None:
        assert self._deadline is not None
        self._journal.write("told", text=name)
        if self.terminated:
            self.stop.set()
            if self.work is not None:
                self.work.cancel()
            return
        self._deadline.near(self._lead_s)
        self._watch_time()

    def _watch_time(self) -> None:
        """End the run in hand when only the time for clean-up is left."""
        assert self._loop is not None
        assert self._deadline is not None
        left_s = self._deadline.left_s()
        if left_s is not None:
            self._loop.call_later(max(0.0, left_s), self._time_is_up)

    def _time_is_up(self) -> None:
        self.closing = True
        self.stop.set()
        if self.work is not None:
            self.work.cancel()
