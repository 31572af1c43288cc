"""`python -m moeserve`."""

import sys
from pathlib import Path

# `-m` puts the working directory first: it stays out, unless moeserve itself lies there.
if sys.path[:1] in ([""], [str(Path.cwd())]) and Path(__file__).parents[1] != Path.cwd():
    del sys.path[0]

from moeserve.cli import main

main()
