"""One supervised server process: started with its log, ended with everything it started."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import psutil

from catalog.python import environment_for
from catalog.secrets import redact
from orchestrator.host import supervisor as supervisor_script
from orchestrator.host.container import Container, enter, tidy
from orchestrator.host.logs import bounded

MARKER = "MOESERVE_ATTEMPT"
GRACE_S = 30.0
"""How long a server may take to end by itself before it is killed."""
SUPERVISOR_LIMIT_S = 20.0
TAIL_BYTES = 4000
OWN_STDERR = Path("/dev/stderr")
LARGEST_LOG_BYTES = 4_000_000
END_BYTES = 8_000_000
"""Of a longer log: a server that dies while it serves writes kilobytes for each open request."""
_UNUSUAL = re.compile(r"[^ -~\n\t]")


@dataclass(frozen=True, slots=True)
class Within:
    """What a server is confined to."""

    cores: Sequence[int] = ()
    """The only ones that it may run on; all of this process's where there are none."""
    container: Container | None = None


ANYWHERE = Within()


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
        within: Within = ANYWHERE,
    ) -> None:
        """In a container the command is one of its image's."""
        self.log = log
        self.marker = uuid.uuid4().hex
        self._container = container = within.container
        self._name = f"moeserve-{self.marker}"
        variables = {**environment_for(command), **env, MARKER: self.marker}
        if container is None:
            variables = {**os.environ, **variables}
        else:
            command, variables = enter(container, command, variables, log.parent, self._name)
        self.command = tuple(command)
        self._grace_s = GRACE_S if grace_s is None else grace_s
        self._bounds = contextlib.ExitStack()
        read_end, self._pipe = os.pipe()
        supervisor = supervisor_command(
            read_end, self._grace_s, detached=detached, cores=within.cores
        )
        try:
            with _appended(log) as sink:
                self._supervisor = subprocess.Popen(
                    [*supervisor, *command],
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    env=variables,
                    pass_fds=(read_end,),
                    start_new_session=True,  # Ctrl-C is for us: the server ends in our order
                )
        except BaseException:
            os.close(self._pipe)
            raise
        finally:
            os.close(read_end)
        if log != OWN_STDERR:
            self._bounds.enter_context(bounded(log))

    @property
    def exit_code(self) -> int | None:
        """None while the server runs."""
        return self._supervisor.poll()

    @property
    def pid(self) -> int:
        """The supervisor's process; the server and all it started descend from it."""
        return self._supervisor.pid

    @property
    def root(self) -> int | None:
        """The process whose descendants are the server; None where it cannot be told.

        A server under srun belongs to a step of Slurm's, not to what we started.
        """
        if self._container is None or self._container.kind != "pyxis":
            return self.pid
        ours = {self.pid, *(each.pid for each in psutil.Process(self.pid).children(True))}
        marked = {each.pid: each for each in marked_processes(self.marker) if each.pid not in ours}
        with contextlib.suppress(psutil.Error):
            above = {each.ppid() for each in marked.values()} - marked.keys()
            return above.pop() if len(above) == 1 else None
        return None

    def log_text(self) -> str:
        """The log so far (its first 4 MB), without control characters and secrets."""
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            return _printable(file.read(LARGEST_LOG_BYTES))
        return ""

    def whole_log(self) -> str:
        """The log, of a very long one its two ends, without control characters and secrets."""
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            head = file.read(LARGEST_LOG_BYTES)
            rest = self.log.stat().st_size - len(head)
            file.seek(max(0, rest - END_BYTES), os.SEEK_CUR)
            return _printable(head) + ("\n" if rest > END_BYTES else "") + _printable(file.read())
        return ""

    def log_tail(self) -> str:
        """The end of the log, without control characters and secrets."""
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            # Read more than is shown: of a secret cut in two the second half would stay.
            file.seek(max(0, self.log.stat().st_size - 2 * TAIL_BYTES))
            return _printable(file.read())[-TAIL_BYTES:]
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
        for process in marked_processes(self.marker):
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self._container is not None:
            await asyncio.to_thread(tidy, self._container, self._name)
        self._bounds.close()


def _appended(log: Path) -> BinaryIO:
    """Open a log to go on with it, but not through a link; the terminal's name is one."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    if log != OWN_STDERR:
        flags |= os.O_NOFOLLOW
    return os.fdopen(os.open(log, flags, 0o644), "ab", buffering=0)


def supervisor_command(
    pipe: int, grace_s: float, *, detached: bool = False, cores: Sequence[int] = ()
) -> list[str]:
    """Return the supervisor's command line, up to the command it is to run."""
    settings = (str(pipe), str(grace_s), str(int(detached)), ",".join(map(str, cores)))
    return [sys.executable, "-I", "-S", supervisor_script.__file__, *settings]


def _printable(text: bytes) -> str:
    decoded = text.decode(errors="replace")
    clean = _UNUSUAL.sub(lambda found: found[0] if found[0].isprintable() else " ", decoded)
    return redact(clean)


def marked_processes(marker: str) -> list[psutil.Process]:
    """Every process that carries the marker in its environment, wherever it hid in the tree."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARKER) == marker:
                found.append(process)
    return found
