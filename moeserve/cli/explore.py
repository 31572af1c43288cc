"""`moeserve predict explore`: which configuration to measure next, within a budget of runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catalog.errors import BadValue, Infeasible
from moeserve.cli.options import ExperimentArgument, ExperimentFlags, with_experiment
from moeserve.cli.show import Format, FormatOption, note, show
from orchestrator.results.record import Row

if TYPE_CHECKING:
    from analysis.landscape.explore import Trial
    from analysis.landscape.ranking import Criteria

HELP = """Look for the best configuration by measuring few: each run chosen by those before it.

Example: moeserve predict explore --engine simulated --hardware H100 -m OLMoE-1B-7B --gpus 4
-w decode-heavy --maximize output_throughput_per_gpu --subject-to "mean_tpot_ms <= 10 ms"
--budget 15 -o search

Layouts are those of --strategy, else every one of powers of two on up to --gpus GPUs; loads are
those of --concurrency. The same directory goes on where it stopped.
"""
MOST_GPUS = 8


def add_to(app: typer.Typer) -> None:
    app.command("explore", help=HELP)(explore)


@with_experiment
def explore(
    flags: ExperimentFlags,
    result_dir: Annotated[
        Path, typer.Option("--result-dir", "-o", help="One directory a configuration goes here.")
    ],
    experiment: ExperimentArgument = None,
    minimize: Annotated[str | None, typer.Option("--minimize", help="Column.")] = None,
    maximize: Annotated[str | None, typer.Option("--maximize", help="Column.")] = None,
    subject_to: Annotated[
        list[str] | None, typer.Option("--subject-to", help="COLUMN <= NUMBER UNIT; repeatable.")
    ] = None,
    budget: Annotated[int, typer.Option("--budget", min=1, help="Configurations to run.")] = 20,
    sampler: Annotated[str, typer.Option("--sampler", help="bayes, random or grid.")] = "bayes",
    output: FormatOption = Format.table,
) -> None:
    from analysis.landscape.explore import SAMPLERS, best
    from analysis.landscape.explore import explore as searched
    from analysis.landscape.measure import measured_by_run, space_of
    from analysis.landscape.objective import parse_objectives
    from analysis.landscape.ranked_landscape import parse_criteria
    from analysis.landscape.space import layouts_within
    from strategies import parse_layouts

    if sampler not in SAMPLERS:
        raise BadValue("sampler", sampler, ", ".join(SAMPLERS))
    chosen = flags.experiment(experiment)
    if not isinstance(chosen.hardware, str):
        raise BadValue("hardware", chosen.hardware, "one GPU's name, with --hardware")
    objectives = parse_objectives([minimize] if minimize else [], [maximize] if maximize else [])
    criteria = parse_criteria(objectives, subject_to or (), how=None)
    layouts = (
        layouts_within(chosen.gpus or MOST_GPUS)
        if chosen.strategies == ("all",)
        else parse_layouts(chosen.strategies, gpus=chosen.gpus)
    )
    space = space_of(chosen, layouts, hardware=chosen.hardware)
    note(f"{len(space)} configurations, {min(budget, len(space))} of them to be run")
    trials = searched(
        space,
        measured_by_run(chosen, result_dir, criteria),
        criteria,
        budget=budget,
        sampler=sampler,
        seed=chosen.seed,
    )
    found = best(trials, criteria)
    show([_row(trial, criteria, found) for trial in trials], output)
    if found is None:
        raise Infeasible(f"none of {len(trials)} configurations measured meets the limits")
    layout = found.configuration.layout.name
    note(f"best measured: {layout} at concurrency {found.configuration.max_concurrency}")


def _row(trial: "Trial", criteria: "Criteria", found: "Trial | None") -> Row:
    metrics = trial.metrics or {}
    return {
        "trial": trial.number + 1,
        "strategy": trial.configuration.layout.name,
        "num_gpus": trial.configuration.layout.num_gpus,
        "max_concurrency": trial.configuration.max_concurrency,
        **{column: metrics.get(column) for column in criteria.columns},
        "meets_limits": trial.meets(criteria.constraints),
        "best": trial is found,
    }
