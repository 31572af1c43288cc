"""What the analysis commands share: their inputs, and rows made fit to print."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from moeserve.cli.show import Row, note

if TYPE_CHECKING:
    import pandas as pd

Results = Annotated[
    list[Path],
    typer.Argument(
        metavar="RESULTS...", help="Results directories, or CSV or Parquet files of runs."
    ),
]
Provenance = Annotated[
    str | None,
    typer.Option("--provenance", help="measured, simulated or imported: they are never pooled."),
]
EveryVerdict = Annotated[
    bool, typer.Option("--include-invalid", help="Use runs whose verdict is not valid, too.")
]
Reference = Annotated[
    str | None, typer.Option("--reference", help="Strategy the others are compared with.")
]
Margin = Annotated[float, typer.Option("--margin", help="Relative difference that counts as none.")]
Response = Annotated[str, typer.Option("--response", help="Column that is explained.")]
Alpha = Annotated[float, typer.Option("--alpha", help="Level of tests; intervals cover 1 − α.")]


class Chosen(TypedDict):
    """Which rows an analysis rests on."""

    provenance: str | None
    every_verdict: bool


def read(results: list[Path]) -> "pd.DataFrame":
    from analysis.frame import load

    return load(*results)


def clean(rows: Iterable[Mapping[str, object]]) -> list[Row]:
    """Plain values: what is not known is None, and counts read from tables are whole numbers."""
    return [{name: _plain(value) for name, value in row.items()} for row in rows]


def _plain(value: object) -> float | int | str | bool | None:
    item = getattr(value, "item", None)
    value = item() if item else value
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def present(columns: Mapping[str, str], rows: list[Row]) -> dict[str, str]:
    """The columns that hold anything."""
    filled = {name for row in rows for name, value in row.items() if value not in (None, "")}
    return {name: heading for name, heading in columns.items() if name in filled}


def say(notes: Iterable[str]) -> None:
    for text in notes:
        note(text)


def model_names(values: Iterable[str]) -> tuple[str, ...]:
    """Split lists of names; the path of a model may hold a comma."""
    return tuple(
        name.strip() for text in values for name in ([text] if _exists(text) else text.split(","))
    )


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long, or a null byte: no path
        return False
