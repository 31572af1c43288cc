"""A folder for weights on disk that leaves nothing behind, whatever ends the process.

While weights are written it has a name, and is swept if its process is killed; afterwards its files
are kept open and unlinked, so that the kernel frees them with the process, `kill -9` included.
"""

import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import psutil

from catalog.errors import BadValue
from catalog.temporary import temporary_folder
from catalog.units import gib

PREFIX = "moeserve-offload-"
IN_MEMORY = ("tmpfs", "ramfs")
FLAG = "--offload-folder"


@contextlib.contextmanager
def offload_folder(parent: Path) -> Iterator[Path]:
    """Make a folder for as long as weights are loaded; it is removed on every way out.

    SIGTERM meanwhile leaves through here too, where signals can be handled at all.
    """
    with _terminated_as_exit(), temporary_folder(parent, PREFIX) as folder:
        yield folder


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
