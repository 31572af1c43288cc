"""`moeserve select`: the configuration that serves best under limits, and what the rest lack."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from catalog.errors import BadValue, Infeasible
from moeserve.cli.show import Format, FormatOption, note, show

if TYPE_CHECKING:
    from analysis.landscape.answer import Answer
    from analysis.landscape.choice import How as HowName

HELP = """Choose a technique or configuration under limits, from results or any table.

Examples:

  moeserve select results/mine --maximize output_throughput --subject-to "mean_ttft_ms <= 200"

  moeserve select mixtral-a6000 --minimize tpot_s --subject-to "gpu_memory_mib <= 16 GiB"

mixtral-a6000 is a published landscape. A row whose value is unknown is refused where that value
is needed (--unknown keep admits it, last). Equal rows: more room under the limits first.
"""
TABLE_ROWS = 20


class How(StrEnum):
    """How several objectives become one order."""

    lexicographic = "lexicographic"
    weighted = "weighted"
    knee = "knee"


class Unknown(StrEnum):
    """What becomes of rows without a value that is needed."""

    refuse = "refuse"
    keep = "keep"


def add_to(app: typer.Typer) -> None:
    app.command("select", help=HELP)(select)


def select(
    landscape: Annotated[
        str, typer.Argument(metavar="LANDSCAPE", help="Results directory, CSV, Parquet, or a name.")
    ],
    minimize: Annotated[
        list[str] | None, typer.Option("--minimize", help="Column to be small; repeatable.")
    ] = None,
    maximize: Annotated[
        list[str] | None, typer.Option("--maximize", help="Column to be large; repeatable.")
    ] = None,
    subject_to: Annotated[
        list[str] | None, typer.Option("--subject-to", help="COLUMN <= NUMBER[UNIT]; repeatable.")
    ] = None,
    how: Annotated[
        How | None,
        typer.Option("--choose", help="Default: the knee when there are several objectives."),
    ] = None,
    weight: Annotated[
        list[str] | None, typer.Option("--weight", help="COLUMN=NUMBER, for --choose weighted.")
    ] = None,
    order: Annotated[
        str | None,
        typer.Option("--order", help="Objectives, first first, for --choose lexicographic."),
    ] = None,
    unknown: Annotated[
        Unknown, typer.Option("--unknown", help="Rows without a value that is needed.")
    ] = Unknown.refuse,
    tie: Annotated[
        float, typer.Option("--tie", min=0, max=1, help="Share within which values are equal.")
    ] = 0.0,
    interpolate: Annotated[
        list[str] | None,
        typer.Option("--interpolate", help="KNOB=VALUES between measured ones: expert=3,5."),
    ] = None,
    provenance: Annotated[
        str | None, typer.Option("--provenance", help="measured, simulated or imported.")
    ] = None,
    top: Annotated[
        int, typer.Option("--top", min=1, help="Rows of a table; JSON and CSV have all.")
    ] = TABLE_ROWS,
    output: FormatOption = Format.table,
) -> None:
    from analysis.landscape.answer import answer, parse_ask
    from analysis.landscape.interpolate import interpolated, parse_knob
    from analysis.landscape.objective import parse_objectives
    from analysis.landscape.read import CITATIONS, read_landscape

    ask = parse_ask(
        parse_objectives(minimize or (), maximize or (), weights=weight or ()),
        subject_to or (),
        how=_how(how, weight, order),
        order=order,
        unknown=unknown.value,
        tie=tie,
    )
    frame = read_landscape(landscape, provenance=provenance)
    for text in interpolate or ():
        frame = interpolated(frame, parse_knob(text))
    found = answer(frame, ask)
    rows = found.rows(top if output is Format.table else None)
    show(rows, output, columns=_columns(found))
    if landscape in CITATIONS:
        note(CITATIONS[landscape])
    for line in found.notes:
        note(line)
    if found.chosen is None:
        raise Infeasible(found.infeasible)


def _how(how: How | None, weight: list[str] | None, order: str | None) -> "HowName | None":
    """The flag, or what another flag implies."""
    if weight and how not in (None, How.weighted):
        raise BadValue("--weight", weight[0], "only with --choose weighted")
    if order and how not in (None, How.lexicographic):
        raise BadValue("--order", order, "only with --choose lexicographic")
    implied = How.weighted if weight else How.lexicographic if order else None
    chosen = how or implied
    return chosen.value if chosen else None


def _columns(found: "Answer") -> list[str]:
    """What tells the rows apart, what was asked about, and the outcome."""
    return [*found.labels, *found.ask.columns, "derived", "rank", "pareto", "rejected_because"]
