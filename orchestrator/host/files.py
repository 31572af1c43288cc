"""Writing files so that a crash leaves the old one or the new one, never half of one."""

import contextlib
import os
import uuid
from pathlib import Path


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte; a full disk may take a part without raising, so look and go on."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_new(path: Path, data: bytes) -> None:
    """Write a file that must not exist yet and flush it to disk; after a fault it is not there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def write_durably(path: Path, data: bytes) -> None:
    """Put the file there whole: a temporary file, flushed to disk, renamed over the name."""
    temporary = _write_beside(path, data)
    try:
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def publish_once(path: Path, data: bytes) -> bool:
    """Put the file there whole unless the name is taken; say whether this call did it.

    A hard link is atomic and exclusive on local disks and NFS alike, where locks may be absent.
    """
    temporary = _write_beside(path, data)
    try:
        os.link(temporary, path)
        sync_folder(path.parent)
        return True
    except FileExistsError:
        # NFS may have linked and still reported failure: two links mean that it was this call.
        return temporary.stat().st_nlink == 2
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename or link durable; not every file system lets a folder be synced."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_beside(path: Path, data: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    write_new(temporary, data)
    return temporary
