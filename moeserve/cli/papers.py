"""`moeserve papers`: every item of the four papers, and whether it comes out."""

import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moeserve.cli.show import Format, FormatOption, note, show
from orchestrator.results.record import Row

if TYPE_CHECKING:
    from moeserve.papers.check import CheckedItem
    from moeserve.papers.item import PaperItem

HELP = """List every item of the four papers: its command, what comes out, whether it agrees.

Examples:

  moeserve papers --paper qs

  moeserve papers --check quick

The verdict is of what moeserve computes or measures on this kind of machine: reproduced, in part,
contradicted, or cannot be, because. --check runs the quick items' commands and ends with 1 where
one of them does not give what the list says of it.
"""
COLUMNS = ("paper", "item", "verdict", "comes_out", "because", "command")
CHECKED = ("paper", "item", "verdict", "as_stated", "comes_out")
NOT_AS_STATED = 1


class Check(StrEnum):
    """Which items are run."""

    none = "none"
    quick = "quick"


def add_to(app: typer.Typer) -> None:
    app.command("papers", help=HELP)(papers)


def papers(
    paper: Annotated[
        list[str] | None,
        typer.Option(
            "--paper", help="expert-mlp, parallelism, qs or design-space; repeatable; default all."
        ),
    ] = None,
    check: Annotated[
        Check, typer.Option("--check", help="Run the quick items, and compare with what is said.")
    ] = Check.none,
    output: FormatOption = Format.table,
) -> None:
    from moeserve.papers.item import items_of

    items = items_of(tuple(paper or ()))
    if check is Check.none:
        show([_row(item) for item in items], output, columns=COLUMNS)
        return
    checked = _checked([item for item in items if item.quick])
    show([_checked_row(each) for each in checked], output, columns=CHECKED)
    wrong = [each for each in checked if not each.as_stated]
    for each in wrong:
        note(f"{each.item.paper}, {each.item.item}: not as stated; see docs/papers.md")
    note(f"{len(checked) - len(wrong)} of {len(checked)} quick items as stated")
    if wrong:
        raise typer.Exit(NOT_AS_STATED)


def _checked(items: "list[PaperItem]") -> "list[CheckedItem]":
    from moeserve.papers.check import Checker

    with tempfile.TemporaryDirectory(prefix="moeserve-papers-") as folder:
        checker = Checker(Path(folder))
        return [checker.check(item) for item in items]


def _row(item: "PaperItem") -> Row:
    from moeserve.papers.check import said

    found = "; ".join(said(each, each.gives) for each in item.readings) or item.comes_out
    return {**_named(item), "comes_out": found, "because": item.why, "command": item.command}


def _checked_row(each: "CheckedItem") -> Row:
    from moeserve.papers.check import said

    pairs = zip(each.item.readings, each.values, strict=True)
    found = "; ".join(said(reading, value) for reading, value in pairs)
    return {
        **_named(each.item),
        "verdict": "failed" if each.failed else each.verdict,
        "as_stated": each.as_stated,
        "comes_out": each.failed or found,
        "command": each.item.command,
    }


def _named(item: "PaperItem") -> Row:
    return {
        "paper": item.paper,
        "item": item.item,
        "kind": item.kind,
        "says": item.says,
        "verdict": item.verdict,
        "check": item.needs,
    }
