"""The events of an agent, kept until the driver has acknowledged them."""

import contextlib
import os
import threading
from pathlib import Path

from orchestrator.cluster.messages import (
    AgentEvent,
    ErrorRaised,
    LogAppended,
    RunCompleted,
    ServerClosed,
    ServerReady,
)

PERIOD_S = 1.0
"""How long an event waits at most: fewer replies, less work beside a measurement."""
LOG_CHUNK_BYTES = 1_000_000
URGENT = (ServerReady, RunCompleted, ErrorRaised, ServerClosed)


class EventLog:
    """Appended to by the thread of a server, fetched by the threads of Ray's calls."""

    def __init__(self) -> None:
        self._events: list[AgentEvent] = []
        self._acknowledged = 0
        self._lock = threading.Lock()
        self._urgent = threading.Event()
        self._log: Path | None = None
        self._log_read = 0

    def append(self, event: AgentEvent) -> None:
        with self._lock:
            self._events.append(event)
        if isinstance(event, URGENT):
            self._urgent.set()

    def fetch(self, acknowledged: int) -> list[AgentEvent]:
        """Return the events after the first `acknowledged`: at once if urgent, else in a moment.

        A reply may be lost, so only the next call drops what it acknowledges.
        """
        with self._lock:
            del self._events[: acknowledged - self._acknowledged]
            self._acknowledged = acknowledged
            urgent = any(isinstance(each, URGENT) for each in self._events)
        if not urgent:
            self._urgent.wait(PERIOD_S)
        self._urgent.clear()
        self.read_log()
        with self._lock:
            return list(self._events)

    def follow_log(self, log: Path) -> None:
        """Append from now on what is written to this file, so that it is not lost with the node."""
        self._log = log

    def read_log(self) -> None:
        """Append what is new in the log."""
        if self._log is None:
            return
        with self._lock, contextlib.suppress(OSError), self._log.open("rb") as file:
            # A log beyond its limit has lost its middle: go on from where it ends now.
            self._log_read = min(self._log_read, os.fstat(file.fileno()).st_size)
            file.seek(self._log_read)
            if text := file.read(LOG_CHUNK_BYTES):
                self._log_read += len(text)
                self._events.append(LogAppended(text))
