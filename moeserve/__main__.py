"""`python -m moeserve`."""

import contextlib
import sys
from pathlib import Path

# `-m` puts the working directory first: it stays out, unless moeserve itself lies there.
with contextlib.suppress(FileNotFoundError):  # a folder that is gone holds nothing to import
    if sys.path[:1] in ([""], [str(Path.cwd())]) and Path(__file__).parents[1] != Path.cwd():
        del sys.path[0]

from moeserve.cli import main

main()
