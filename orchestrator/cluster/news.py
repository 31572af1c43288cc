"""News of an agent, kept until the driver has shown that it heard them."""

import contextlib
import threading
from pathlib import Path

from orchestrator.cluster.wire import Closed, Done, Failed, LogTold, Ready, Told

PERIOD_S = 1.0
"""How long news wait at most: fewer answers, less work beside a measurement."""
LOG_PIECE_BYTES = 1_000_000
URGENT = (Ready, Done, Failed, Closed)


class News:
    """Told by the thread of a server, asked for by the threads of Ray's calls."""

    def __init__(self) -> None:
        self._kept: list[Told] = []
        self._dropped = 0
        self._lock = threading.Lock()
        self._urgent = threading.Event()
        self._log: Path | None = None
        self._log_read = 0

    def tell(self, news: Told) -> None:
        with self._lock:
            self._kept.append(news)
        if isinstance(news, URGENT):
            self._urgent.set()

    def after(self, heard: int) -> list[Told]:
        """Return what came after the first `heard`: at once if it is important, else in a moment.

        An answer may be lost on its way, so only the next question drops what it says was heard.
        """
        with self._lock:
            del self._kept[: heard - self._dropped]
            self._dropped = heard
            important = any(isinstance(each, URGENT) for each in self._kept)
        if not important:
            self._urgent.wait(PERIOD_S)
        self._urgent.clear()
        self.read_log()
        with self._lock:
            return list(self._kept)

    def follow(self, log: Path) -> None:
        """Tell from now on what is written to this file, so that it is not lost with the node."""
        self._log = log

    def read_log(self) -> None:
        """Tell what is new in the log."""
        if self._log is None:
            return
        with self._lock, contextlib.suppress(OSError), self._log.open("rb") as file:
            file.seek(self._log_read)
            if text := file.read(LOG_PIECE_BYTES):
                self._log_read += len(text)
                self._kept.append(LogTold(text))
