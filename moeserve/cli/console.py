"""Rich's console, but for a reader that has gone: that is told upwards, not an exit with 1."""

import sys

import rich.console


class Console(rich.console.Console):
    """Writes to standard output."""

    def on_broken_pipe(self) -> None:
        """Raise the BrokenPipeError that is being handled."""
        raise sys.exc_info()[1] or BrokenPipeError
