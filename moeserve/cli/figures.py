"""`moeserve plot` and `report`: figures for papers, and one page with everything."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.optional_dependencies import need_extra
from catalog.errors import BadValue
from moeserve.cli.inputs import (
    BetterOption,
    ByOption,
    ColumnOption,
    ConstantOption,
    EveryVerdictOption,
    MarginOption,
    PoolOption,
    ProvenanceOption,
    ReferenceOption,
    ResultsArgument,
    WhereOption,
    direction,
    pooled,
    read,
    refuse_given,
    say,
)

if TYPE_CHECKING:
    from analysis.data.select import RowSelection

LANDSCAPE_TOKENS = 50
ALONE = {"timeline": ("--run",), "traffic": ("--run",), "landscape": ("--output-len",)}
"""Figures that are not of a table of runs, each with the flags that it looks at."""

HELP = {
    "plot": """Draw a figure as SVG, PDF or PNG.

Examples:

  moeserve plot out --kind throughput --workload decode-heavy -o throughput.svg

  moeserve plot out mixtral-a6000 --kind landscape -o landscape.svg

  moeserve plot out --kind figure-2 --columns 1 --style paper.mplstyle -o figure2.pdf
""",
    "report": """Write one self-contained HTML page: question, answer, and the evidence.

Example: moeserve report out
""",
}


def add_to(app: typer.Typer) -> None:
    for command in (plot, report):
        app.command(command.__name__, help=HELP[command.__name__])(command)


def plot(
    results: ResultsArgument,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="File: .svg, .png, .pdf; default beside the results."),
    ] = None,
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            "-k",
            help="throughput, latency, bars, latency-bars, pareto, scaling, heatmap, residuals, "
            "timeline, traffic, landscape; or figure-2, figure-3, figure-4 of the parallelism "
            "paper.",
        ),
    ] = "throughput",
    response: Annotated[str, typer.Option("--response", help="Column on the axis.")] = "",
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="Only this.")] = None,
    workload: Annotated[
        list[str] | None, typer.Option("--workload", "-w", help="Only this.")
    ] = None,
    load: Annotated[
        float | None,
        typer.Option("--concurrency", "--load", "-c", help="Load of the bars; the highest."),
    ] = None,
    column: ColumnOption = None,
    constant: ConstantOption = None,
    where: WhereOption = None,
    by: ByOption = None,
    pool: PoolOption = None,
    better: BetterOption = None,
    run: Annotated[
        str | None, typer.Option("--run", help="Run of the timeline, of the traffic.")
    ] = None,
    output_len: Annotated[
        int | None,
        typer.Option("--output-len", min=1, help="Tokens of the landscape's latency; default 50."),
    ] = None,
    columns: Annotated[
        int | None,
        typer.Option("--columns", help="Width for a paper of two columns: 1 (3.5 in) or 2."),
    ] = None,
    style: Annotated[
        Path | None, typer.Option("--style", help="A matplotlib style file, over moeserve's.")
    ] = None,
    provenance: ProvenanceOption = None,
    include_invalid: EveryVerdictOption = False,
) -> None:
    need_extra("plot")
    from analysis.plots import PlotSelection, Sheet, drawing, save
    from analysis.plots.landscape import landscape_figure_of
    from analysis.plots.timeline import timeline_of
    from analysis.plots.traffic import traffic_figure_of
    from analysis.report.place import beside

    given = {
        "--run": run, "--output-len": output_len, "--concurrency": load, "--response": response,
        "--model": model, "--workload": workload, "--where": where, "--by": by, "--pool": pool,
        "--column": column, "--constant": constant, "--better": better,
        "--provenance": provenance, "--include-invalid": include_invalid,
    }  # fmt: skip
    idle = {flag: value for flag, value in given.items() if not _looks_at(kind, flag)}
    # A filter that is overlooked would draw what was to be left out.
    refuse_given(idle, f"with other kinds of plot: {kind} does not look at it")
    notes: tuple[str, ...] = ()
    sheet = Sheet(columns, style)
    of_one_run = {"timeline": timeline_of, "traffic": traffic_figure_of}
    if kind in of_one_run:
        if run is None or len(results) > 1:
            raise BadValue("--run", run, "the id of one run of one results directory")
        figure = of_one_run[kind](results[0], run, sheet)
    elif kind == "landscape":
        figure = landscape_figure_of(results, output_len or LANDSCAPE_TOKENS, sheet)
    else:
        view = PlotSelection(
            response,
            tuple(model or ()),
            tuple(workload or ()),
            load,
            pooled(by, pool),
            direction(better),
        )
        chosen: RowSelection = {"provenance": provenance, "every_verdict": include_invalid}
        frame = read(results, where, column=column, constant=constant)
        made = drawing(frame, kind, view, sheet, **chosen)
        figure, notes = made.figure, made.notes
    path = output or beside(results[0], f"{kind}.svg")
    sys.stdout.write(f"{save(figure, path, sheet)}\n")
    say(notes)


def _looks_at(kind: str, flag: str) -> bool:
    """Whether such a figure depends on a flag."""
    from analysis.plots import FIGURES, KINDS

    if kind in ALONE:
        return flag in ALONE[kind]
    drawn = FIGURES[kind].kind if kind in FIGURES else kind
    if flag == "--concurrency":
        return drawn not in KINDS or KINDS[drawn].at_load
    return all(flag not in flags for flags in ALONE.values())


def report(
    results: ResultsArgument,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The HTML file; default beside the results."),
    ] = None,
    title: Annotated[str, typer.Option("--title", help="Heading of the page.")] = "",
    column: ColumnOption = None,
    constant: ConstantOption = None,
    where: WhereOption = None,
    by: ByOption = None,
    pool: PoolOption = None,
    reference: ReferenceOption = None,
    margin: MarginOption = 0.03,
) -> None:
    need_extra("report")
    from analysis.data.own_names import parse_own_names
    from analysis.report import ReportOptions, write_report
    from analysis.report.place import beside
    from slurm.watch.whole import unfinished

    options = ReportOptions(
        unfinished=" ".join(filter(None, map(unfinished, filter(Path.is_dir, results)))),
        title=title,
        reference=reference,
        margin=margin,
        pooling=pooled(by, pool),
        where=tuple(where or ()),
        own=parse_own_names(column, constant),
    )
    path = output or beside(results[0], "report.html")
    sys.stdout.write(f"{write_report(results, path, options)}\n")
