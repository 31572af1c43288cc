"""A folder for weights on disk that leaves nothing behind, whatever ends the process.

While weights are written it is locked and has a name; afterwards its files are kept open and
unlinked, so that the kernel frees them with the process, `kill -9` included. A folder whose process
was killed while it wrote is removed by the next server that starts in the same place.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import psutil

from catalog.errors import BadValue
from catalog.units import gib

PREFIX = "moeserve-offload-"
IN_MEMORY = ("tmpfs", "ramfs")
YOUNG_S = 60.0
"""A folder this young may have a process that has not locked it yet."""
FLAG = "--offload-folder"


@contextlib.contextmanager
def offload_folder(parent: Path) -> Iterator[Path]:
    """Make a folder for as long as weights are loaded; it is removed on every way out.

    SIGTERM meanwhile leaves through here too, where signals can be handled at all.
    """
    sweep(parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with _terminated_as_exit():
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep(parent: Path) -> None:
    """Remove the folders of processes that were killed: ours, not young, locked by nobody."""
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another's, or another process sweeps it too
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
            lock = os.open(folder, flags)
            try:
                found = os.fstat(lock)
                if found.st_uid == os.getuid() and time.time() - found.st_mtime > YOUNG_S:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def keep_open(index: dict[str, dict[str, Any]], folder: Path) -> list[int]:
    """Unlink an index's files that lie in the folder; return descriptors that keep them.

    The index, accelerate's by the weight's name, then leads to them by way of these. Files that lie
    elsewhere are the checkpoint's own and stay as they are.
    """
    held: dict[str, int] = {}
    for entry in index.values():
        path = entry.get("safetensors_file")
        if path is None or Path(path).parent != folder:
            continue
        if path not in held:
            held[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            Path(path).unlink()
        entry["safetensors_file"] = f"/proc/self/fd/{held[path]}"
    return list(held.values())


def check_disk(parent: Path, needed_bytes: float) -> None:
    """Refuse a place that is memory, or too full for so many bytes."""
    if not parent.is_dir():
        raise BadValue(FLAG, str(parent), "a folder that exists")
    kind = filesystem_of(parent)
    if kind in IN_MEMORY:
        way = f"a folder on a disk: {parent} is memory ({kind}); --server-arg={FLAG}=DIR names one"
        raise BadValue(FLAG, str(parent), way)
    free = shutil.disk_usage(parent).free
    if needed_bytes > free:
        way = f"{gib(needed_bytes)} free, not {gib(free)}; --server-arg={FLAG}=DIR names another"
        raise BadValue(FLAG, str(parent), way)


def filesystem_of(path: Path) -> str:
    """Return the type of the file system that a path lies on; empty where it is not known."""
    resolved = path.resolve()
    mounts = [
        (len(each.mountpoint), each.fstype)
        for each in psutil.disk_partitions(all=True)
        if resolved.is_relative_to(each.mountpoint)
    ]
    # Of several mounts at one place the last is the one that is seen.
    return max(enumerate(mounts), key=lambda each: (each[1][0], each[0]))[1][1] if mounts else ""


@contextlib.contextmanager
def _terminated_as_exit() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
