"""Where a page or figure goes that nobody named a file for."""

from pathlib import Path

from orchestrator.results.given import ENDING, given_as


def beside(results: Path, name: str) -> Path:
    """Into the results directory, or next to the file of the runs or the packed study."""
    if (packed := given_as(results)) != results:
        return packed.with_name(f"{packed.name.removesuffix(ENDING)}.{name}")
    if results.is_dir():
        return results / name
    return results.with_name(f"{results.stem}.{name}")
