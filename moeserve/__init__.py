"""How to serve a Mixture-of-Experts model, with evidence: the command line and the public API.

`run`, `load`, `answer`, `compare`, `anova`, `plot` and `report` are described in `moeserve.api`;
each is loaded when it is first asked for.
"""

import sys
from typing import TYPE_CHECKING

from moeserve.hidden import refuse_hidden

if TYPE_CHECKING:
    from moeserve.api import anova, answer, compare, load, plot, report, run

    __version__: str

__all__ = ["__version__", "anova", "answer", "compare", "load", "plot", "report", "run"]

if sys.argv[:1] != ["-m"]:  # `python -m moeserve` keeps the working directory out itself
    refuse_hidden()


if not TYPE_CHECKING:  # a type checker would take every name for one of this module

    def __getattr__(name: str) -> object:
        """Return a function of the API, or `__version__`: a help page needs neither."""
        if name == "__version__":
            return _version()
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        found = getattr(import_module("moeserve.api"), name)
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted(__all__)

    def _version() -> str:
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("moeserve")
        except PackageNotFoundError:  # run from a source tree that was never installed
            return "0+unknown"
