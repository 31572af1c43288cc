"""`moeserve tables`, `anova` and `compare`: what a run table says."""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, cast

import typer

from analysis.extra import need_extra
from catalog.errors import BadValue
from moeserve.cli import figures
from moeserve.cli.inputs import (
    Alpha,
    Chosen,
    EveryVerdict,
    Margin,
    Provenance,
    Reference,
    Response,
    Results,
    clean,
    present,
    read,
    say,
)
from moeserve.cli.show import Format, FormatOption, show

if TYPE_CHECKING:
    from analysis.contrast import Adjustment

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

ANOVA_COLUMNS = {
    "factor": "factor",
    "df": "df",
    "df_residual": "df residual",
    "sum_sq": "sum of squares",
    "f": "F",
    "p": "p",
    "eta_squared": "η²",
    "eta_squared_low": "η² from",
    "eta_squared_high": "η² to",
    "omega_squared": "ω²",
    "partial_eta_squared": "partial η²",
    "welch_p": "p (Welch)",
    "kruskal_p": "p (Kruskal–Wallis)",
    "mixed_f": "F (mixed)",
    "mixed_df_residual": "df residual (mixed)",
    "mixed_p": "p (mixed)",
}
COMPARE_COLUMNS = {
    "model": "model",
    "workload": "workload",
    "max_concurrency": "concurrency",
    "request_rate": "requests/s",
    "strategy": "strategy",
    "reference": "against",
    "ratio": "ratio",
    "ratio_low": "from",
    "ratio_high": "to",
    "pairs": "pairs",
    "p_adjusted": "p adjusted",
    "p_equivalence": "p equivalence",
    "verdict": "verdict",
    "runs_needed": "runs needed",
    "reason": "reason",
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
    results: Results,
    number: Annotated[
        list[str] | None, typer.Option("--table", "-t", help="IV, V, VI or VII; repeatable.")
    ] = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="The paper's own numbers beside each cell.")
    ] = False,
    provenance: Provenance = None,
    include_invalid: EveryVerdict = False,
    output: Annotated[TableFormat, typer.Option("--format", help="How to print.")] = (
        TableFormat.table
    ),
) -> None:
    need_extra("moeserve tables")
    from analysis import render
    from analysis.tables import tables as make

    made = make(
        read(results), tuple(number or ()), provenance=provenance, every_verdict=include_invalid
    )
    if output in (TableFormat.json, TableFormat.csv):
        rows = clean(row for table in made for row in table.flat())
        show(rows, Format(output.value))
        return
    style = {
        TableFormat.table: render.terminal,
        TableFormat.markdown: render.markdown,
        TableFormat.latex: render.latex,
    }[output]
    sys.stdout.write("\n\n".join(style(table, paper=paper) for table in made) + "\n")


def anova(
    results: Results,
    response: Response = "output_throughput",
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
    alpha: Alpha = 0.05,
    provenance: Provenance = None,
    include_invalid: EveryVerdict = False,
    output: FormatOption = Format.table,
) -> None:
    need_extra("moeserve anova")
    from dataclasses import asdict

    from analysis.anova import FACTORS, Model
    from analysis.anova import anova as fit

    model = Model(
        response=response,
        factors=tuple(factor or FACTORS),
        interactions=interactions or order is not None,
        order=order,
        kind=kind,
        log=log,
        alpha=alpha,
    )
    found = fit(read(results), model, provenance=provenance, every_verdict=include_invalid)
    rows = clean(found.rows())
    show(rows, output, columns=present(ANOVA_COLUMNS, rows))
    if output is Format.table:
        show(clean(asdict(check) for check in found.checks), output)
    say(found.notes)


def compare(
    results: Results,
    response: Response = "output_throughput",
    reference: Reference = None,
    by: Annotated[
        list[str] | None,
        typer.Option("--by", help="Column to compare within; repeatable. model, workload, load."),
    ] = None,
    alpha: Alpha = 0.05,
    margin: Margin = 0.03,
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
    provenance: Provenance = None,
    include_invalid: EveryVerdict = False,
    output: FormatOption = Format.table,
) -> None:
    need_extra("moeserve compare")
    from analysis.compare import BY, Question
    from analysis.compare import compare as contrast
    from analysis.contrast import Rule
    from analysis.crossover import crossovers
    from analysis.tukey import tukey

    question = Question(
        response=response,
        reference=reference,
        by=tuple(by or BY),
        rule=Rule(alpha=alpha, margin=margin, power=power),
        adjust=None if adjust is Adjust.auto else cast("Adjustment", adjust.value),
    )
    if all_pairs and crossover:
        raise BadValue("--tukey", "--crossover", "one of the two")
    chosen: Chosen = {"provenance": provenance, "every_verdict": include_invalid}
    frame = read(results)
    found = contrast(frame, question, **chosen)
    if crossover:
        changes = crossovers(frame, question, **chosen)
        show(clean(row.row() for row in changes), output)
    elif all_pairs:
        pairs = tukey(frame, question, **chosen)
        show(clean(row.row() for row in pairs), output)
    else:
        rows = clean(found.rows())
        show(rows, output, columns=present(COMPARE_COLUMNS, rows))
    say(found.notes)
