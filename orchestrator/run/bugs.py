"""A fault of our own that a run meets: kept with its traceback, so that the study can go on."""

import traceback
from pathlib import Path

from catalog.errors import MoeserveError
from catalog.secrets import redact
from orchestrator.host.files import write_durably
from workloads.transcript import clean_error

CODE = "BUG"
NETWORK_ERRORS = (ConnectionError, TimeoutError)


class Bug(MoeserveError):
    """What was met, in one line, with where its traceback is."""


def is_bug(error: Exception) -> bool:
    """Tell a fault of ours from a failing disk, after which no run has anywhere to go."""
    if isinstance(error, MoeserveError):
        return False
    return not isinstance(error, OSError) or isinstance(error, NETWORK_ERRORS)


def keep_traceback(error: Exception, path: Path) -> Bug:
    """Write the traceback to a file and return the fault as an error that names it."""
    text = "".join(traceback.format_exception(error))
    write_durably(path, redact(text).encode(errors="replace"))
    what = clean_error(f"{type(error).__name__}: {error}")
    return Bug(f"{CODE}: {what}; a fault of moeserve itself, its traceback is in {path}")
