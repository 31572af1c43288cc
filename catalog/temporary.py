"""Temporary folders that are gone with their process, also where it was killed.

One is locked while its process lives, by a file in it, and removed on every way out. What a killed
process left is removed by the next that makes a folder of that kind in the same place. A folder
with no lock yet is no exception: its maker sees that it was taken from under it, and makes another.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from catalog.errors import BadFile
from catalog.inside import lock_file

LOCK = ".lock"


@contextlib.contextmanager
def temporary_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Make a folder of this user's alone, and sweep what others of its kind have left there."""
    sweep(parent, prefix)
    with contextlib.ExitStack() as stack:
        folder = _locked(parent, prefix, stack)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def sweep(parent: Path, prefix: str) -> None:
    """Remove this user's folders of a kind that no process holds."""
    for folder in parent.glob(f"{prefix}*"):
        # Another's, or another process sweeps it too.
        with contextlib.suppress(OSError, BadFile), contextlib.ExitStack() as stack:
            found = folder.lstat()
            own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
            if own and _hold(folder, stack):
                shutil.rmtree(folder, ignore_errors=True)


def _locked(parent: Path, prefix: str, stack: contextlib.ExitStack) -> Path:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        with contextlib.suppress(FileNotFoundError, BlockingIOError):  # it is being swept
            if _hold(folder, stack):
                return folder


def _hold(folder: Path, stack: contextlib.ExitStack) -> bool:
    """Lock a folder until the stack ends; False where its lock is not this one any more.

    Raises BlockingIOError where another holds it.
    """
    lock = stack.enter_context(lock_file(folder / LOCK))
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # Who swept it in between has unlinked the file that was opened: that lock holds nothing.
    return os.path.samestat(os.fstat(lock), os.lstat(folder / LOCK))
