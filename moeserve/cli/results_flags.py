"""Flags of the commands that keep their results in a directory."""

from enum import StrEnum
from typing import Annotated, Any

import typer


def result_dir_option(default: str) -> Any:
    """Return the option; `default` says how a directory is named that nobody gave."""
    text = f"Where results go; default results/{default} of the study."
    return typer.Option("--result-dir", "-o", help=text, show_default=False)


FreshOption = Annotated[
    bool,
    typer.Option("--fresh/--resume", help="Start over (old results are moved aside), or resume."),
]


class Redo(StrEnum):
    """Which finished runs are done again."""

    invalid = "invalid"


RedoOption = Annotated[
    Redo | None,
    typer.Option("--redo", help="Do again: invalid runs, of which a plain resume keeps all."),
]
