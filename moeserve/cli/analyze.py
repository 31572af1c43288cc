"""`moeserve tables`, `anova` and `compare`: what a run table says."""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, cast

import typer

from analysis.optional_dependencies import need_extra
from catalog.errors import BadValue
from moeserve.cli import figures
from moeserve.cli.analysis_columns import ANOVA_COLUMNS, COMPARE_COLUMNS
from moeserve.cli.answer import say_answer
from moeserve.cli.inputs import (
    AlphaOption,
    AsAskedOption,
    BetterOption,
    ByOption,
    ColumnOption,
    ConstantOption,
    EveryVerdictOption,
    MarginOption,
    PoolOption,
    ProvenanceOption,
    ReferenceOption,
    ResponseOption,
    ResultsArgument,
    WhereOption,
    clean,
    direction,
    pooled,
    present,
    read,
    say,
)
from moeserve.cli.show import Format, FormatOption, note, show

if TYPE_CHECKING:
    import pandas as pd

    from analysis.compare import ComparisonSpec
    from analysis.data.select import RowSelection
    from analysis.statistics.contrast import Adjustment
    from orchestrator.results.record import Row

HELP = {
    "tables": """Print the parallelism paper's Tables IV, V, VI and VII from any results.

Each cell has its interval and its number of runs.

Example: moeserve tables out --paper --format markdown
""",
    "anova": """Test which factor moves the response: F, df, p, η², ω².

Each factor alone unless --interactions fits them together; with checks of the assumptions,
Welch and Kruskal-Wallis beside F, and a mixed model when server launches are replicated.

Example: moeserve anova out --factor strategy --factor model --interactions
""",
    "compare": """Compare strategies with each other: ratio, interval, test, verdict.

Verdicts are better, worse, equivalent (within --margin) and undecided (with the runs needed).

Example: moeserve compare out --reference tp --margin 0.03
""",
}


class TableFormat(StrEnum):
    """How the paper's tables are printed."""

    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"
    latex = "latex"


class Adjust(StrEnum):
    """How p-values of many contrasts are adjusted."""

    auto = "auto"
    holm = "holm"
    bh = "bh"
    none = "none"


def add_to(app: typer.Typer) -> None:
    for command in (tables, anova, compare):
        app.command(command.__name__, help=HELP[command.__name__])(command)
    figures.add_to(app)


def tables(
    results: ResultsArgument,
    number: Annotated[
        list[str] | None, typer.Option("--table", "-t", help="IV, V, VI or VII; repeatable.")
    ] = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="The paper's own numbers beside each cell.")
    ] = False,
    column: ColumnOption = None,
    constant: ConstantOption = None,
    where: WhereOption = None,
    by: ByOption = None,
    pool: PoolOption = None,
    as_asked: AsAskedOption = False,
    provenance: ProvenanceOption = None,
    include_invalid: EveryVerdictOption = False,
    output: Annotated[TableFormat, typer.Option("--format", help="How to print.")] = (
        TableFormat.table
    ),
) -> None:
    need_extra("tables")
    from analysis.tables import render
    from analysis.tables.paper_tables import tables as make

    made = make(
        read(results, where, column=column, constant=constant),
        tuple(number or ()),
        provenance=provenance,
        every_verdict=include_invalid,
        # The paper counts every load that was asked for: beside its numbers, so do we.
        pooling=pooled(by, pool),
        as_asked=as_asked or paper,
    )
    if output in (TableFormat.json, TableFormat.csv):
        rows = clean(row for table in made for row in table.flat())
        show(rows, Format(output.value))
        say(dict.fromkeys(text for table in made for text in table.notes))
        return
    style = {
        TableFormat.table: render.terminal,
        TableFormat.markdown: render.markdown,
        TableFormat.latex: render.latex,
    }[output]
    sys.stdout.write("\n\n".join(style(table, paper=paper) for table in made) + "\n")


def anova(
    results: ResultsArgument,
    response: ResponseOption = "output_throughput",
    factor: Annotated[
        list[str] | None,
        typer.Option("--factor", help="Column; repeatable. max_concurrency, strategy, model."),
    ] = None,
    interactions: Annotated[
        bool, typer.Option("--interactions", help="All factors in one model, with interactions.")
    ] = False,
    order: Annotated[
        int | None, typer.Option("--order", help="Highest order of interaction.")
    ] = None,
    kind: Annotated[int, typer.Option("--type", help="Sums of squares of Type 2 or 3.")] = 2,
    log: Annotated[bool, typer.Option("--log", help="Analyse the logarithm: ratios.")] = False,
    alpha: AlphaOption = 0.05,
    column: ColumnOption = None,
    constant: ConstantOption = None,
    where: WhereOption = None,
    pool: PoolOption = None,
    as_asked: AsAskedOption = False,
    provenance: ProvenanceOption = None,
    include_invalid: EveryVerdictOption = False,
    output: FormatOption = Format.table,
) -> None:
    need_extra("anova")
    from dataclasses import asdict

    from analysis.anova import FACTORS, AnovaModel
    from analysis.anova import anova as fit

    model = AnovaModel(
        response=response,
        factors=tuple(factor or FACTORS),
        interactions=interactions or order is not None,
        order=order,
        kind=kind,
        log=log,
        alpha=alpha,
        pool=tuple(pool or ()),
    )
    chosen: RowSelection = {
        "provenance": provenance,
        "every_verdict": include_invalid,
        "as_asked": as_asked,
    }
    found = fit(read(results, where, column=column, constant=constant), model, **chosen)
    rows = clean(found.rows())
    show(rows, output, columns=present(ANOVA_COLUMNS, rows))
    if output is Format.table:
        show(clean(asdict(check) for check in found.checks), output)
    say(found.notes)


def compare(
    results: ResultsArgument,
    response: ResponseOption = "output_throughput",
    reference: ReferenceOption = None,
    by: Annotated[
        list[str] | None,
        typer.Option("--by", help="Column to compare within; repeatable. model, workload, load."),
    ] = None,
    alpha: AlphaOption = 0.05,
    margin: MarginOption = 0.03,
    power: Annotated[float, typer.Option("--power", help="Power behind runs_needed.")] = 0.8,
    adjust: Annotated[
        Adjust,
        typer.Option("--adjust", help="holm for one stratum, bh (Benjamini-Hochberg) for a sweep."),
    ] = Adjust.auto,
    all_pairs: Annotated[
        bool, typer.Option("--tukey", help="All pairs of strategies, by Tukey's test.")
    ] = False,
    crossover: Annotated[
        bool, typer.Option("--crossover", help="The concurrency where strategies change places.")
    ] = False,
    laboratory: Annotated[
        bool,
        typer.Option(
            "--laboratory", help="Does the winner change from fixed lengths to real traffic?"
        ),
    ] = False,
    column: ColumnOption = None,
    constant: ConstantOption = None,
    where: WhereOption = None,
    pool: PoolOption = None,
    better: BetterOption = None,
    as_asked: AsAskedOption = False,
    provenance: ProvenanceOption = None,
    include_invalid: EveryVerdictOption = False,
    output: FormatOption = Format.table,
) -> None:
    need_extra("compare")
    from analysis.compare import BY, ComparisonSpec
    from analysis.compare import compare as contrast
    from analysis.crossover import crossovers
    from analysis.data.arms import arms_for
    from analysis.statistics.contrast import Rule
    from analysis.tukey import tukey

    spec = ComparisonSpec(
        response=response,
        reference=reference,
        by=tuple(by or BY),
        pool=tuple(pool or ()),
        better=direction(better),
        rule=Rule(alpha=alpha, margin=margin, power=power),
        adjust=None if adjust is Adjust.auto else cast("Adjustment", adjust.value),
    )
    kinds = {"--tukey": all_pairs, "--crossover": crossover, "--laboratory": laboratory}
    if len(several := [flag for flag, on in kinds.items() if on]) > 1:
        raise BadValue(several[0], several[1], "one of the two")
    chosen: RowSelection = {
        "provenance": provenance,
        "every_verdict": include_invalid,
        "as_asked": as_asked,
    }
    read_rows = read(results, where, column=column, constant=constant)
    frame = arms_for(read_rows, reference)
    found = contrast(frame, spec, **chosen)
    if crossover:
        changes = crossovers(frame, spec, **chosen)
        show(clean(row.row() for row in changes), output)
    elif laboratory:
        show(_changes(frame, spec, chosen), output)
    elif all_pairs:
        pairs = tukey(frame, spec, **chosen)
        show(clean(row.row() for row in pairs), output)
    else:
        rows = clean(found.rows())
        own = {name: COMPARE_COLUMNS.get(name, name) for name in found.spec.by}
        show(rows, output, columns=present({**own, **COMPARE_COLUMNS}, rows))
    say(found.notes)
    if output is Format.table:
        say_answer(frame, results, spec)


def _changes(frame: "pd.DataFrame", spec: "ComparisonSpec", chosen: "RowSelection") -> "list[Row]":
    """Say whether the laboratory's winner is that of traffic, in sentences beside the rows."""
    from analysis.laboratory import change_sentences, winner_changes
    from analysis.question import asked_of

    moved = winner_changes(asked_of(frame, spec, **chosen).chosen.frame, spec)
    if moved.empty:
        note("nothing ran under both a laboratory workload (1024:512:20) and traffic at one load")
    say(change_sentences(moved))
    return clean(
        {str(name): value for name, value in row.items()} for row in moved.to_dict("records")
    )
