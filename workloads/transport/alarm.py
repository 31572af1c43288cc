"""A wake-up at a precise instant."""

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Callable

ABSOLUTE = 1
NANO = 10**9


class TimerSpec(ctypes.Structure):
    """`struct itimerspec`: seconds and nanoseconds of the interval and of the expiry."""

    _fields_ = (("interval", ctypes.c_long * 2), ("expiry", ctypes.c_long * 2))


class Alarm:
    """Call `wake` at an instant of `time.perf_counter`, on Linux to some tens of microseconds.

    asyncio's own timers are good to a millisecond: too coarse for a schedule of arrivals.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        self._loop, self._wake = loop, wake
        self._handle: asyncio.TimerHandle | None = None
        self._fd = -1
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._fd = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK)
        if self._fd >= 0:
            loop.add_reader(self._fd, self._ring)

    def set(self, instant_s: float) -> None:
        """Replace the instant to wake at."""
        if self._fd < 0:
            self._set_timer(instant_s)
            return
        # An expiry of zero would disarm the timer, so an instant long past is rounded up.
        seconds, nanoseconds = divmod(max(1, round(instant_s * NANO)), NANO)
        spec = TimerSpec((0, 0), (seconds, nanoseconds))
        if self._libc.timerfd_settime(self._fd, ABSOLUTE, ctypes.byref(spec), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")

    def _set_timer(self, instant_s: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        delay_s = max(0.0, instant_s - time.perf_counter())
        self._handle = self._loop.call_later(delay_s, self._wake)

    def _ring(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        self._wake()

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
