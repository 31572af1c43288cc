"""The public API: what the commands do, as functions of frames; `docs/api.md` is run as it stands.

`results` is a results directory, a CSV or Parquet file, several of them, or a frame of `load`.
"""

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import pandas as pd

from analysis.data.frame import load as load_frame
from analysis.data.kinds import as_counted, as_floats
from analysis.data.where import where as chosen_rows
from orchestrator.experiment.experiment import Experiment, experiment_from, read_experiment
from orchestrator.results.archive import opened
from orchestrator.results.directory import default_directory
from orchestrator.run.events import EventListener, RunEvent
from orchestrator.study import prepare, run_study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from analysis.anova import Anova
    from analysis.answer.said import Answers
    from analysis.compare import Comparison

Results = str | Path | pd.DataFrame | Sequence[str | Path]
T = TypeVar("T")


def run(
    experiment: Experiment | Mapping[str, Any] | str | Path | None = None,
    *,
    result_dir: str | Path | None = None,
    fresh: bool = False,
    listen: EventListener | None = None,
    **fields: Any,
) -> pd.DataFrame:
    """Run an experiment as `moeserve run` does, and return its run table.

    `experiment` is an `Experiment`, its fields, or its YAML file; further keywords are fields that
    stand over it: `run(engine="simulated", models="mixtral", strategies=["tp", "ep"])`. What the
    results directory has already is not done again. The frame's `attrs["results"]` says where it
    is. Works in a notebook, whose event loop runs already. Raises what the command prints.
    """
    study = _finished(prepare(_experiment(experiment, fields)))
    if study.notice:
        logging.getLogger(__name__).warning("%s", study.notice)
    directory = Path(result_dir) if result_dir else default_directory(study.plan.experiment)
    _finished(run_study(study, directory, listen=listen or _nobody, fresh=fresh))
    return load(directory)


def load(*results: str | Path) -> pd.DataFrame:
    """Return the run table of results directories, CSV or Parquet files: one tidy row a run.

    Counts are whole numbers (nullable where a run has none), `started_at` is a time in UTC;
    durations are in seconds, latencies in ms, NaN for what was not measured. Rows of every verdict
    and provenance are in it.
    """
    frame = as_counted(load_frame(*results))
    frame.attrs["results"] = [str(path) for path in results]
    return frame


def answer(results: Results, *, reference: str | None = None, margin: float = 0.03) -> "Answers":
    """Say which layout to use, by how much and how sure: what a run ends with on the terminal."""
    from analysis.answer.said import Answers
    from analysis.compare import ComparisonSpec
    from analysis.statistics.contrast import Rule

    spec = ComparisonSpec(reference=reference, rule=Rule(margin=margin))
    return Answers.of(_frame(results), spec)


def compare(
    results: Results,
    *,
    reference: str | None = None,
    response: str = "output_throughput",
    by: Sequence[str] = ("model", "workload", "max_concurrency", "request_rate"),
    margin: float = 0.03,
    alpha: float = 0.05,
    pool: Sequence[str] = (),
    where: Sequence[str] = (),
    provenance: str | None = None,
) -> "Comparison":
    """Compare each strategy with the reference; `.frame()` has one row a contrast.

    Verdicts are better, worse, equivalent (within the margin) and undecided.
    """
    from analysis.compare import ComparisonSpec
    from analysis.compare import compare as contrast
    from analysis.statistics.contrast import Rule

    spec = ComparisonSpec(
        response=response,
        reference=reference,
        by=tuple(by),
        pool=tuple(pool),
        rule=Rule(margin=margin, alpha=alpha),
    )
    return contrast(_frame(results, where), spec, provenance=provenance)


def anova(
    results: Results,
    *,
    factors: Sequence[str] = ("max_concurrency", "strategy", "model"),
    response: str = "output_throughput",
    interactions: bool = False,
    log: bool = False,
    where: Sequence[str] = (),
    provenance: str | None = None,
) -> "Anova":
    """Test which factor moves the response; `.frame()` has one row a factor."""
    from analysis.anova import AnovaModel
    from analysis.anova import anova as fit

    model = AnovaModel(
        response=response, factors=tuple(factors), interactions=interactions, log=log
    )
    return fit(_frame(results, where), model, provenance=provenance)


def plot(
    results: Results,
    kind: str = "throughput",
    *,
    response: str = "",
    where: Sequence[str] = (),
    provenance: str | None = None,
) -> "Figure":
    """Draw a figure of `moeserve plot`; a notebook shows it, `savefig` writes it."""
    from analysis.plots import PlotSelection, drawing

    view = PlotSelection(response=response)
    return drawing(_frame(results, where), kind, view, provenance=provenance).figure


def report(results: str | Path | Sequence[str | Path], output: str | Path | None = None) -> Path:
    """Write the page of `moeserve report` and return its path; default beside the results."""
    from analysis.report import write_report
    from analysis.report.place import beside

    paths = [opened(Path(p)) for p in ([results] if isinstance(results, str | Path) else results)]
    return write_report(paths, Path(output) if output else beside(paths[0], "report.html"))


def _nobody(_: RunEvent) -> None:
    """Hear what happens, and say nothing."""


def _experiment(
    given: Experiment | Mapping[str, Any] | str | Path | None, fields: Mapping[str, Any]
) -> Experiment:
    """The experiment with the fields that stand over it."""
    if given is None:
        base: Mapping[str, Any] = {}
    elif isinstance(given, Experiment):
        base = msgspec.to_builtins(given)
    elif isinstance(given, str | Path):
        base = msgspec.to_builtins(read_experiment(Path(given)))
    else:
        base = given
    made = {**base, **{name: _plain(value) for name, value in fields.items()}}
    return experiment_from(made, source="moeserve.run")


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple | set | range) else value


def _frame(results: Results, where: Sequence[str] = ()) -> pd.DataFrame:
    """Rows with the kinds of numbers that the analysis computes with."""
    if isinstance(results, pd.DataFrame):
        frame = as_floats(results)
    elif isinstance(results, str | Path):
        frame = load_frame(results)
    else:
        frame = load_frame(*results)
    return chosen_rows(frame, tuple(where))


def _finished(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, in a thread of its own where a loop runs here already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
