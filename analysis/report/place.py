"""Where a page or figure goes that nobody named a file for."""

from pathlib import Path


def beside(results: Path, name: str) -> Path:
    """Into the results directory, or next to the file of the runs."""
    if results.is_dir():
        return results / name
    return results.with_name(f"{results.stem}.{name}")
