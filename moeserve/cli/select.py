"""`moeserve select`: the configuration that serves best under limits, and what the rest lack."""

from enum import StrEnum
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from catalog.errors import BadValue, Infeasible
from moeserve.cli.inputs import ColumnOption, ConstantOption, PoolOption, WhereOption, pooled, say
from moeserve.cli.show import Format, FormatOption, show

if TYPE_CHECKING:
    import pandas as pd

    from analysis.landscape.ranked_landscape import RankedLandscape
    from analysis.landscape.ranking import RankingMethod

HELP = """Choose a technique or configuration under limits, from results or any table.

Examples:

  moeserve select results/mine --maximize output_throughput --subject-to "mean_ttft_ms <= 200 ms"

  moeserve select mixtral-a6000 --minimize tpot_s --subject-to "gpu_memory_mib <= 16 GiB"

  moeserve select mixtral-a6000 --output-len 256 --minimize latency_s

mixtral-a6000 is a published landscape. Replicates of one condition are one row, their mean.
A row whose value is unknown is refused where that is needed (--unknown keep: admitted, last).
Equal rows: more room under the limits first, then by name.
"""
TABLE_ROWS = 20


class RankingMethodName(StrEnum):
    """How several objectives become one order."""

    lexicographic = "lexicographic"
    weighted = "weighted"
    knee = "knee"


class UnknownPolicyName(StrEnum):
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
        list[str] | None, typer.Option("--subject-to", help="COLUMN <= NUMBER UNIT; repeatable.")
    ] = None,
    output_len: Annotated[
        int | None,
        typer.Option("--output-len", min=1, help="Derive latency_s = TTFT + N·TPOT (N tokens)."),
    ] = None,
    how: Annotated[
        RankingMethodName | None,
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
        UnknownPolicyName, typer.Option("--unknown", help="Rows without a value that is needed.")
    ] = UnknownPolicyName.refuse,
    tie: Annotated[
        float, typer.Option("--tie", min=0, max=1, help="Share within which values are equal.")
    ] = 0.0,
    interpolate: Annotated[
        list[str] | None,
        typer.Option("--interpolate", help="KNOB=VALUES between measured ones: expert=3,5."),
    ] = None,
    column: ColumnOption = None,
    constant: ConstantOption = None,
    where: WhereOption = None,
    pool: PoolOption = None,
    provenance: Annotated[
        str | None, typer.Option("--provenance", help="measured, simulated or imported.")
    ] = None,
    top: Annotated[
        int, typer.Option("--top", min=1, help="Rows of a table; JSON and CSV have all.")
    ] = TABLE_ROWS,
    output: FormatOption = Format.table,
) -> None:
    from analysis.data.own_names import parse_own_names
    from analysis.landscape.interpolate import interpolated, parse_knob
    from analysis.landscape.latency import latency_notes
    from analysis.landscape.objective import parse_objectives
    from analysis.landscape.ranked_landscape import check_limited, parse_criteria, rank_landscape
    from analysis.landscape.read import read_landscape
    from analysis.landscape.replicates import undecided_notes

    objectives = parse_objectives(minimize or (), maximize or (), weights=weight or ())
    method = _how(how, weight, order)
    wanted = [objective.column for objective in objectives]
    pooling = pooled(None, pool)
    frame = read_landscape(
        landscape,
        provenance=provenance,
        conditions=tuple(where or ()),
        pooling=pooling,
        own=parse_own_names(column, constant),
        objectives=wanted,
        output_len=output_len,
    )
    check_limited(frame, subject_to or ())
    criteria = parse_criteria(
        objectives, subject_to or (), how=method, order=order, unknown=unknown.value, tie=tie
    )
    beside = [
        *_origin(landscape, frame),
        *_mixed(frame),
        *undecided_notes(frame, pool=pooling.pool, objectives=wanted),
        *(latency_notes(frame, output_len) if output_len is not None else ()),
    ]
    for text in interpolate or ():
        frame = interpolated(frame, parse_knob(text), results=criteria.columns)
    found = rank_landscape(frame, criteria)
    rows = found.rows(top if output is Format.table else None)
    show(rows, output, columns=_columns(found))
    say((*found.notes, *beside))
    if found.chosen is None:
        raise Infeasible(found.infeasible)


def _origin(landscape: str, frame: "pd.DataFrame") -> tuple[str, ...]:
    """Where the numbers are from, and what kind they are."""
    from analysis.data.doubts import failed_notes
    from analysis.data.select import Selection, one_provenance
    from analysis.landscape.read import CITATIONS

    if landscape in CITATIONS:
        return (CITATIONS[landscape],)
    rows, name = one_provenance(frame, None)
    return Selection(rows, name, excluded=(), told=failed_notes(rows)).notes


def _mixed(frame: "pd.DataFrame") -> list[str]:
    """Say that models or workloads are ranked against each other, and how to take one."""
    from analysis.data.order import ordered
    from analysis.landscape.read import counts

    frame = frame[counts(frame)]
    found = {n: ordered(frame[n].unique()) for n in ("model", "workload") if n in frame}
    return [
        f"{len(levels)} {name}s are ranked together; "
        f"--where {quote(f'{name}={levels[0]}')} takes one"
        for name, levels in found.items()
        if len(levels) > 1
    ]


def _how(
    how: RankingMethodName | None, weight: list[str] | None, order: str | None
) -> "RankingMethod | None":
    """The flag, or what another flag implies."""
    if weight and how not in (None, RankingMethodName.weighted):
        raise BadValue("--weight", weight[0], "only with --choose weighted")
    if order and how not in (None, RankingMethodName.lexicographic):
        raise BadValue("--order", order, "only with --choose lexicographic")
    implied = (
        RankingMethodName.weighted if weight else RankingMethodName.lexicographic if order else None
    )
    chosen = how or implied
    return chosen.value if chosen else None


def _columns(found: "RankedLandscape") -> list[str]:
    """What tells the rows apart, what was asked about, and the outcome."""
    outcome = ("latency_s", "replicates", "derived", "rank", "pareto", "rejected_because")
    return list(dict.fromkeys([*found.labels, *found.criteria.columns, *outcome]))
