"""supervisor.py FD GRACE_S DETACH CORES CMD...: run CMD and leave nothing of it behind.

Run as a script with the standard library alone. When the read end FD reaches end-of-file (its
writer, the program that asked, is gone, however it went), on SIGTERM, or when CMD ends, CMD and
everything it ever started is ended: TERM, GRACE_S seconds, then KILL. As a child subreaper it
becomes the parent of whatever CMD orphans, descendants that called setsid included. Shared memory
that only they had mapped is unlinked. It exits with CMD's status, or 143 when told to stop.

With DETACH 1 all this is done by a child of the process that was started, which only passes
signals and the status on: a Ray worker that ends kills its direct children with -9, and so would
kill the one process that cleans up.

CORES are the only ones that CMD and all it starts may run on, `1,2,3`; all where it is empty.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
KILL_LIMIT_S = 10.0
SHARED_MEMORY = "/dev/shm/"  # noqa: S108 (where the kernel puts it)


def main(argv: list[str]) -> int:
    pipe, grace_s, command = int(argv[1]), float(argv[2]), argv[5:]
    if argv[4]:
        os.sched_setaffinity(0, {int(core) for core in argv[4].split(",")})
    if argv[3] == "1" and (inner := os.fork()):
        return _stand_for(inner)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    stop_asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _: stop_asked.append(received))
    # The server's leader dies with this supervisor even when that is killed with -9.
    child = subprocess.Popen(
        command,
        start_new_session=True,
        preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
    )
    _wait(child, pipe, stop_asked)
    status = child.poll()
    _end_all(grace_s)
    if status is None:
        return 143
    return status if status >= 0 else 128 - status


def _stand_for(child: int) -> int:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _: _signal(child, received))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status if status >= 0 else 128 - status


def _wait(child: "subprocess.Popen[bytes]", pipe: int, stop_asked: list[int]) -> None:
    while child.poll() is None and not stop_asked:
        ready, _, _ = select.select([pipe], [], [], 0.2)
        if ready and os.read(pipe, 1) == b"":
            return


def _end_all(grace_s: float) -> None:
    segments: set[str] = set()
    for number, limit_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, KILL_LIMIT_S)):
        deadline = time.monotonic() + limit_s
        signalled: set[int] = set()
        while (alive := _descendants(os.getpid())) and time.monotonic() < deadline:
            segments.update(*map(_mapped_segments, alive))
            for pid in alive - signalled if number == signal.SIGTERM else alive:
                _signal(pid, number)
            signalled |= alive
            time.sleep(0.05)
            _reap()
    for segment in segments:
        Path(segment).unlink(missing_ok=True)


def _descendants(root: int) -> set[int]:
    found: set[int] = set()
    queue = [root]
    while queue:
        children = _children(queue.pop())
        queue += children
        found.update(children)
    return found


def _children(pid: int) -> list[int]:
    children: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (task / "children").read_text().split())
    except OSError:
        return children  # it ended while we looked
    return children


def _mapped_segments(pid: int) -> set[str]:
    try:
        maps = Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return set()
    lines = (line.split(maxsplit=5) for line in maps.splitlines() if SHARED_MEMORY in line)
    return {line[5] for line in lines if len(line) == 6 and line[5].startswith(SHARED_MEMORY)}


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):  # already gone
        os.kill(pid, number)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


if __name__ == "__main__":
    sys.exit(main(sys.argv))
