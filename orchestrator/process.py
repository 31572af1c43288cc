"""One supervised server process: started with its log, ended with everything it started."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from orchestrator import supervisor
from orchestrator.secrets import redact

MARKER = "MOESERVE_ATTEMPT"
GRACE_S = 30.0
"""How long a server may take to end by itself before it is killed."""
SUPERVISOR_LIMIT_S = 20.0
TAIL_BYTES = 4000
LARGEST_LOG_BYTES = 4_000_000


class ServerProcess:
    """A command under its own supervisor; it cannot outlive this process, even a killed one."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str],
        grace_s: float | None = None,
        detached: bool = False,
    ) -> None:
        self.command = tuple(command)
        self.log = log
        self.marker = uuid.uuid4().hex
        self._grace_s = GRACE_S if grace_s is None else grace_s
        read_end, self._pipe = os.pipe()
        try:
            with log.open("ab") as sink:
                self._supervisor = subprocess.Popen(
                    [*supervised(read_end, self._grace_s, detached=detached), *command],
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **env, MARKER: self.marker},
                    pass_fds=(read_end,),
                    start_new_session=True,  # Ctrl-C is for us: the server ends in our order
                )
        except BaseException:
            os.close(self._pipe)
            raise
        finally:
            os.close(read_end)

    @property
    def exit_code(self) -> int | None:
        """None while the server runs."""
        return self._supervisor.poll()

    @property
    def pid(self) -> int:
        """The supervisor's process; the server and all it started descend from it."""
        return self._supervisor.pid

    def log_text(self) -> str:
        """The log so far (its first 4 MB), without control characters and secrets."""
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            return _printable(file.read(LARGEST_LOG_BYTES))
        return ""

    def log_tail(self) -> str:
        """The end of the log, without control characters and secrets."""
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            return _printable(file.read())
        return ""

    async def stop(self) -> None:
        """End the server and verify that nothing with its marker is left. Idempotent."""
        if self._pipe < 0:
            return
        os.close(self._pipe)
        self._pipe = -1
        with contextlib.suppress(ProcessLookupError):
            self._supervisor.send_signal(signal.SIGTERM)
        limit_s = self._grace_s + SUPERVISOR_LIMIT_S
        try:
            await asyncio.to_thread(self._supervisor.wait, limit_s)
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
            self._supervisor.wait()
        for process in marked(self.marker):
            with contextlib.suppress(psutil.Error):
                process.kill()


def supervised(pipe: int, grace_s: float, *, detached: bool = False) -> list[str]:
    """Return the supervisor's command line, up to the command it is to run."""
    settings = (str(pipe), str(grace_s), str(int(detached)))
    return [sys.executable, "-I", "-S", supervisor.__file__, *settings]


def _printable(text: bytes) -> str:
    decoded = text.decode(errors="replace")
    clean = "".join(char if char.isprintable() or char in "\n\t" else " " for char in decoded)
    return redact(clean)


def marked(marker: str) -> list[psutil.Process]:
    """Every process that carries the marker in its environment, wherever it hid in the tree."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARKER) == marker:
                found.append(process)
    return found
