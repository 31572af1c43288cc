"""What a user named where a folder stands for it: a packed study is read from an unpacked one."""

from pathlib import Path

ENDING = ".tar.zst"
_given: dict[Path, Path] = {}


def stands_for(root: Path, given: Path) -> None:
    """Remember what a folder was unpacked from."""
    _given[root] = given


def given_as(root: Path) -> Path:
    """Return the packed study that a folder stands for, else the path itself."""
    return _given.get(root, root)
