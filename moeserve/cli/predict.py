"""`moeserve predict study`, `fit`, `evaluate`: a learned choice of strategy and how good it is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catalog.errors import BadFile, BadValue
from moeserve.cli import explore, recommend
from moeserve.cli.recommend import CalibrationOption, ObjectiveOption
from moeserve.cli.show import Format, FormatOption, Row, note, show

if TYPE_CHECKING:
    from analysis.predict.cases import Cases

HELP = {
    "study": """Simulate a training study: many architectures, GPUs, workloads and loads.

Example: moeserve predict study examples/choosing/training_study.yaml -o study.parquet
""",
    "fit": """Fit the predictor to results; measured rows outweigh simulated ones.

Example: moeserve predict fit study.parquet results/mine -o predictor.npz
""",
    "evaluate": """Judge the predictor on what it has not seen, beside simple rules.

Example: moeserve predict evaluate study.parquet --split leave-one-model-out
""",
}
EVALUATE_COLUMNS = (
    "split", "provenance", "method", "cases", "models", "accuracy", "accuracy_low",
    "accuracy_high", "majority_baseline", "balanced_accuracy", "mean_regret", "mean_regret_low",
    "mean_regret_high", "worst_regret", "log_loss", "calibration_error", "wrong",
)  # fmt: skip
SHOWN_IMPORTANCES = 10

app = typer.Typer(no_args_is_help=True, help="Learn which strategy serves best, and recommend one.")

ResultsArgument = Annotated[
    list[str], typer.Argument(metavar="RESULTS...", help="Results directories, CSV or Parquet.")
]
SeedOption = Annotated[int, typer.Option("--seed", help="Of forests, folds and resampling.")]


def add_to(parent: typer.Typer) -> None:
    for name, command in (("study", study), ("fit", fit), ("evaluate", evaluate)):
        app.command(name, help=HELP[name])(command)
    recommend.add_to(app)
    explore.add_to(app)
    parent.add_typer(app, name="predict")


def study(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml")],
    output_file: Annotated[Path, typer.Option("-o", "--output", help="Parquet file to write.")],
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes; default one a core.")
    ] = None,
) -> None:
    import pandas as pd

    from analysis.predict.study import read_recipe, run_study

    if output_file.suffix != ".parquet":
        raise BadValue("output", str(output_file), "a file named .parquet")
    if output_file.exists():
        raise BadFile(output_file, "exists already; remove it or name another")
    _check_folder(output_file)
    frame = pd.DataFrame(run_study(read_recipe(recipe), workers=workers))
    part = output_file.with_name(output_file.name + ".part")
    frame.to_parquet(part, index=False)
    part.replace(output_file)
    note(f"{len(frame)} runs of {frame['case_id'].nunique()} cases simulated into {output_file}")


def fit(
    results: ResultsArgument,
    output_file: Annotated[Path, typer.Option("-o", "--output", help="Predictor to write.")],
    objective: ObjectiveOption = "throughput",
    calibration: CalibrationOption = None,
    seed: SeedOption = 0,
    output: FormatOption = Format.table,
) -> None:
    from analysis.predict import predictor
    from analysis.predict.objective import objective_of

    _check_folder(output_file)
    cases = _cases(results, objective, calibration)
    fitted = predictor.fit(
        cases, objective=objective_of(objective), calibration=calibration, seed=seed
    )
    predictor.save(fitted, output_file)
    about = fitted.about
    ranked = sorted(zip(about.importances, about.names, strict=True), reverse=True)
    kept = ranked if output is not Format.table else ranked[:SHOWN_IMPORTANCES]
    show([{"feature": name, "importance": share} for share, name in kept], output)
    note(f"{cases.count} cases, {len(cases.value)} options of {len(about.models)} models")
    note(f"written to {output_file}; its doubt rests on {about.doubt.basis}")


def evaluate(
    results: ResultsArgument,
    split: Annotated[
        list[str] | None,
        typer.Option(
            "--split",
            help="random-80/20, leave-one-model-out, leave-one-hardware-out; default all three.",
        ),
    ] = None,
    objective: ObjectiveOption = "throughput",
    calibration: CalibrationOption = None,
    tie: Annotated[
        float | None, typer.Option("--tie", min=0, max=1, help="Default: the replicates' noise.")
    ] = None,
    curve: Annotated[
        bool, typer.Option("--learning-curve", help="Regret by the number of models trained on.")
    ] = False,
    published: Annotated[
        bool,
        typer.Option("--published", help="Also the A100 study's Table VI, each model left out."),
    ] = False,
    seed: SeedOption = 0,
    output: FormatOption = Format.table,
) -> None:
    from analysis.predict import evaluate as judged
    from analysis.predict.published import evaluate_published, published_curve
    from analysis.predict.splits import SPLITS, split_of

    cases = _cases(results, objective, calibration, tie=tie)
    rows: list[Row] = list(
        judged.evaluate(cases, splits=[split_of(name) for name in split or SPLITS], seed=seed)
    )
    if published:
        rows += evaluate_published(_uncalibrated(results), seed=seed)
    columns: tuple[str, ...] = EVALUATE_COLUMNS
    if curve:
        rows += judged.learning_curve(cases, seed=seed)
        rows += published_curve(seed=seed) if published else ()
        columns = (*EVALUATE_COLUMNS[:4], "models_trained_on", *EVALUATE_COLUMNS[4:])
    show(rows, output, columns=columns)
    note(f"a choice within {cases.tie:.1%} of the best counts as right; intervals resample models")
    if set(cases.provenance) == {"simulated"}:
        note("simulated rows only: they share the analytic model's equations, so this says how "
             "well the simulation is learned, not how real servers behave")  # fmt: skip


def _check_folder(path: Path) -> None:
    """Before the work, not after it."""
    if not path.parent.is_dir():
        raise BadFile(path, "its folder does not exist")
    if path.is_dir():
        raise BadFile(path, "is a folder; name a file")


def _cases(
    results: list[str], objective: str, calibration: str | None, *, tie: float | None = None
) -> "Cases":
    from analysis.frame import load
    from analysis.predict.objective import objective_of
    from analysis.predict.read import read_cases
    from moeserve.cli.estimate import constants_of

    cases = read_cases(
        load(*results), objective=objective_of(objective), constants=constants_of(calibration),
        tie=tie,
    )  # fmt: skip
    for reason, count in cases.skipped.items():
        note(f"{count} rows left out: {reason}")
    return cases


def _uncalibrated(results: list[str]) -> "Cases | None":
    """The rows that no calibration to the A100 study has touched, for judging its tables."""
    from analysis.frame import load
    from analysis.predict.read import read_cases
    from perfmodel.constants import ROOFLINE

    frame = load(*results)
    if "calibration" not in frame:
        return None
    free = frame[frame["calibration"] == ROOFLINE.name]
    return read_cases(free, constants=ROOFLINE) if len(free) else None
