"""The answer below a table: which layout, by how much, how sure, and the next command."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.optional_dependencies import PARTS
from catalog.errors import InputError, install_line
from moeserve.cli.show import note
from orchestrator.results.record import Row

if TYPE_CHECKING:
    import pandas as pd

    from analysis.question import ComparisonSpec


def can_answer() -> bool:
    """Whether the libraries are here that an answer's statistics need."""
    return all(find_spec(name) for name in PARTS)


def say_answer_of(results: Path, rows: Sequence[Row]) -> None:
    """Answer from rows of a results directory; what keeps that from being done is said instead."""
    if not can_answer():
        note(f"which layout, by how much and how sure: {install_line('analysis')}")
        return
    from analysis.data.frame import load_rows

    try:
        frame = load_rows(rows, results)
    except InputError as error:
        note(f"no answer: {error}")
        return
    say_answer(frame, [results])


def say_answer(
    frame: "pd.DataFrame", results: Sequence[Path], spec: "ComparisonSpec | None" = None
) -> None:
    """Answer from a run table that was read from these results."""
    from analysis.answer.answer import answers, next_command, said

    try:
        found = answers(frame, spec)
    except InputError as error:
        note(f"no answer: {error}")
        return
    for line in said(found):
        note(line)
    if len(results) == 1:
        invalid = int((frame["verdict"] == "invalid").sum()) if "verdict" in frame else 0
        note(f"next: {next_command(found, results[0], invalid=invalid)}")
    sys.stderr.flush()
