"""What the analysis commands share: their inputs, and rows made fit to print."""

import math
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catalog.errors import BadValue
from moeserve.cli.show import note
from orchestrator.results.given import ENDING
from orchestrator.results.record import Row

if TYPE_CHECKING:
    import pandas as pd

    from analysis.data.conditions import Pooling
    from orchestrator.results.quantities import Better


def refuse_given(given: Mapping[str, object], allowed: str) -> None:
    """Raise BadValue for the first of these flags that the command line set: none is of use."""
    for flag, value in given.items():
        if value is not False and value not in (None, "", []):  # but a number that is 0
            raise BadValue(flag, value, allowed)


def opened_all(results: list[Path]) -> list[Path]:
    """Give a folder for every packed study."""
    if not any(path.name.endswith(ENDING) for path in results):
        return results
    from orchestrator.results.archive import opened

    return [opened(path) for path in results]


ResultsArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="RESULTS...",
        help="Results directories, packed studies, or CSV or Parquet files of runs.",
        callback=opened_all,
    ),
]
ProvenanceOption = Annotated[
    str | None,
    typer.Option("--provenance", help="measured, simulated or imported: they are never pooled."),
]
EveryVerdictOption = Annotated[
    bool, typer.Option("--include-invalid", help="Use runs whose verdict is not valid, too.")
]
ReferenceOption = Annotated[
    str | None, typer.Option("--reference", help="Strategy the others are compared with.")
]
MarginOption = Annotated[
    float, typer.Option("--margin", help="Relative difference that counts as none.")
]
ResponseOption = Annotated[str, typer.Option("--response", help="Column that is explained.")]
AlphaOption = Annotated[
    float, typer.Option("--alpha", help="Level of tests; intervals cover 1 − α.")
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option("--where", help="Only rows with COLUMN=VALUE[,VALUE]; repeatable."),
]
ByOption = Annotated[
    list[str] | None,
    typer.Option("--by", help="Column to keep rows apart by, whatever else; repeatable."),
]
PoolOption = Annotated[
    list[str] | None,
    typer.Option("--pool", help="Column whose differences are overlooked; repeatable."),
]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option("--column", help="OWN=NAME: a column of another name, as tput=output_throughput."),
]
ConstantOption = Annotated[
    list[str] | None,
    typer.Option("--constant", help="NAME=VALUE: a column that is the same in all rows."),
]
AsAskedOption = Annotated[
    bool,
    typer.Option("--as-asked", help="Count loads that were not reached as levels, as papers do."),
]


class Direction(StrEnum):
    """Which way is better."""

    HIGHER = "higher"
    LOWER = "lower"


BetterOption = Annotated[
    Direction | None,
    typer.Option("--better", help="For a response whose direction is not known."),
]


def direction(told: Direction | None) -> "Better":
    return "" if told is None else "higher" if told is Direction.HIGHER else "lower"


def read(
    results: list[Path],
    conditions: Iterable[str] | None = None,
    *,
    column: Iterable[str] | None = None,
    constant: Iterable[str] | None = None,
) -> "pd.DataFrame":
    from analysis.data.frame import load
    from analysis.data.own_names import parse_own_names
    from analysis.data.where import where

    own = parse_own_names(column, constant)
    return where(load(*results, own=own), tuple(conditions or ()))


def pooled(by: Iterable[str] | None, pool: Iterable[str] | None) -> "Pooling":
    from analysis.data.conditions import Pooling

    return Pooling(tuple(by or ()), tuple(pool or ()))


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
