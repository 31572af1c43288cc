"""`moeserve plot` and `report`: figures for papers, and one page with everything."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from analysis.extra import need_extra
from catalog.errors import BadValue
from moeserve.cli.inputs import Chosen, EveryVerdict, Margin, Provenance, Reference, Results, read

HELP = {
    "plot": """Draw a figure as SVG or PNG.

Example: moeserve plot out --kind throughput --workload decode-heavy -o throughput.svg
""",
    "report": """Write one self-contained HTML page: question, answer, and the evidence.

Example: moeserve report out -o report.html
""",
}


def add_to(app: typer.Typer) -> None:
    for command in (plot, report):
        app.command(command.__name__, help=HELP[command.__name__])(command)


def plot(
    results: Results,
    output: Annotated[Path, typer.Option("-o", "--output", help="File: .svg, .png or .pdf.")],
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            "-k",
            help="throughput, latency, bars, latency-bars, pareto, scaling, heatmap, residuals "
            "or timeline.",
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
    run: Annotated[str | None, typer.Option("--run", help="Run of the timeline.")] = None,
    provenance: Provenance = None,
    include_invalid: EveryVerdict = False,
) -> None:
    need_extra("moeserve plot")
    from analysis.plots import View, draw, save
    from analysis.plots.timeline import timeline_of

    if kind == "timeline":
        if run is None or len(results) > 1:
            raise BadValue("--run", run, "the id of one run of one results directory")
        figure = timeline_of(results[0], run)
    else:
        view = View(response, tuple(model or ()), tuple(workload or ()), load)
        chosen: Chosen = {"provenance": provenance, "every_verdict": include_invalid}
        figure = draw(read(results), kind, view, **chosen)
    sys.stdout.write(f"{save(figure, output)}\n")


def report(
    results: Results,
    output: Annotated[Path, typer.Option("-o", "--output", help="The HTML file.")],
    title: Annotated[str, typer.Option("--title", help="Heading of the page.")] = "",
    reference: Reference = None,
    margin: Margin = 0.03,
) -> None:
    need_extra("moeserve report")
    from analysis.report import Options, write_report

    options = Options(title=title, reference=reference, margin=margin)
    sys.stdout.write(f"{write_report(results, output, options)}\n")
