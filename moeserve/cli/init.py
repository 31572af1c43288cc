"""`moeserve init` and `moeserve schema`: an experiment to begin with, and what it may hold."""

import sys
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from catalog.errors import BadValue
from moeserve.cli.show import note, print_json

HELP = {
    "init": """Write a commented experiment to begin with.

Examples:

  moeserve init

  moeserve init study.yaml && moeserve plan study.yaml
""",
    "schema": """Print the JSON schema of an experiment's file, for editors.

Example: moeserve schema > experiment.schema.json
""",
}


def add_to(app: typer.Typer) -> None:
    for command in (init, schema):
        app.command(command.__name__, help=HELP[command.__name__])(command)


def init(
    path: Annotated[
        Path, typer.Argument(metavar="[FILE]", help="Where to; never over a file that is there.")
    ] = Path("experiment.yaml"),
) -> None:
    text = template()
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        allowed = f"a new file in a folder that exists: {error.strerror or error}"
        raise BadValue("FILE", str(path), allowed) from error
    sys.stdout.write(f"{path}\n")
    note(f"next: moeserve plan {path}")


def template() -> str:
    """The experiment that `init` writes; every field stands in it."""
    return files("moeserve").joinpath("experiment.yaml").read_text(encoding="utf-8")


def schema() -> None:
    from moeserve.keys import experiment_schema

    print_json(experiment_schema())
