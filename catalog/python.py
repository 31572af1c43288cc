"""How Python is started: never with the working directory in front of its modules.

`python -m` puts the working directory first, and a `uvloop.py` or a folder `catalog/` there, of a
project or a download, would run or be taken for ours. `-P` keeps it out, and PYTHONSAFEPATH out of
what the started program starts in turn.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence

SAFE_PATH = {"PYTHONSAFEPATH": "1"}


def python_module(module: str, *options: str, python: str = sys.executable) -> list[str]:
    """Return the command that runs a module; its arguments follow."""
    return [python, "-P", *options, "-m", module]


def environment_for(command: Sequence[str]) -> dict[str, str]:
    """Return what a command's environment needs: a user's own script may load its neighbours."""
    return dict(SAFE_PATH) if "-P" in command[1:2] else {}


@contextlib.contextmanager
def safe_children() -> Iterator[None]:
    """Keep the working directory out of the Pythons that a library starts within the block."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ.update(SAFE_PATH)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before
