"""moeserve: how to serve a Mixture-of-Experts language model, with evidence."""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

try:
    __version__ = version("moeserve")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"


def load(*results: "str | Path") -> "pd.DataFrame":
    """Return the run table of results directories, CSV or Parquet files: one tidy row a run."""
    from analysis.frame import load as load_frame

    return load_frame(*results)
