"""One at a time: whoever looks at a directory's tasks and submits what is missing has its turn."""

import asyncio
import contextlib
import errno
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from catalog.errors import ClusterError
from catalog.inside import lock_file, own_folder

POLL_S = 0.2
LONGEST_WAIT_S = 900.0
"""A submission asks Slurm for minutes before it gives up."""
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.asynccontextmanager
async def turn(
    root: Path, tell: Callable[[str], None], *, longest_s: float | None = None
) -> AsyncIterator[None]:
    """Keep every other submission out of a results directory, on all hosts that share its locks.

    Without it two would both find the same tasks missing, and queue them twice. The lock ends with
    its holder, and with an sbatch of the holder's that outlives it: what that has sent may still
    be taken. Raises ClusterError where another holds it longer than `longest_s`, and where it is
    another user's; of a directory that may be read alone nothing is submitted anyway.
    """
    with contextlib.ExitStack() as stack:
        try:
            lock = stack.enter_context(lock_file(own_folder(root, "slurm") / ".lock"))
        except OSError as error:
            if error.errno not in NOT_OURS:
                raise
            _check_unwritable(root / "slurm")
        else:
            os.set_inheritable(lock, True)
            await _take(root, lock, tell, LONGEST_WAIT_S if longest_s is None else longest_s)
        yield


def _check_unwritable(folder: Path) -> None:
    """Refuse a folder that can be submitted from, though not be locked: the lock is another's."""
    if os.access(folder, os.W_OK):
        lock = folder / ".lock"
        raise ClusterError(
            f"{lock} is of the user {lock.stat().st_uid}, and this one may not lock it: nothing "
            f"was submitted, since both could queue the same tasks. `chmod g+rw {lock}` of that "
            "user lets their group take turns"
        )


async def _take(root: Path, lock: int, tell: Callable[[str], None], longest_s: float) -> None:
    waited_s = 0.0
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if waited_s == 0.0:
                tell(f"another submission is at work in {root}: waiting for its end")
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            tell(f"{root} has no locks: two submissions at one time would queue tasks twice")
            return
        if waited_s >= longest_s:
            raise ClusterError(
                f"another submission has been at work in {root} for {longest_s:g} s and more: "
                "nothing was submitted. The same command goes on when that has ended"
            )
        await asyncio.sleep(POLL_S)
        waited_s += POLL_S
