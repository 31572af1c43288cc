"""How to serve a Mixture-of-Experts model, with evidence: the command line and the public API."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    __version__: str


def load(*results: "str | Path") -> "pd.DataFrame":
    """Return the run table of results directories, CSV or Parquet files: one tidy row a run."""
    from analysis.data.frame import load as load_frame

    return load_frame(*results)


if not TYPE_CHECKING:  # a type checker would take every name for one of this module

    def __getattr__(name: str) -> str:
        """Return `__version__`, read when it is asked for: its reader costs a help page's time."""
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("moeserve")
        except PackageNotFoundError:  # run from a source tree that was never installed
            return "0+unknown"
