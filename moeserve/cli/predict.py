"""`moeserve predict study`, `fit`, `evaluate`: a learned choice of strategy and how good it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catalog.errors import BadFile, BadValue
from moeserve.cli import explore, recommend
from moeserve.cli.inputs import (
    ColumnOption,
    ConstantOption,
    PoolOption,
    WhereOption,
    read,
    refuse_given,
)
from moeserve.cli.recommend import CalibrationOption, ObjectiveOption
from moeserve.cli.show import Format, FormatOption, note, show
from orchestrator.results.record import Row

if TYPE_CHECKING:
    import pandas as pd

    from analysis.predict.cases import Cases
    from analysis.predict.field import Field

HELP = {
    "study": """Simulate a training study: many architectures, GPUs, workloads and loads.

Example: moeserve predict study examples/choosing/training_study.yaml -o study.parquet
""",
    "fit": """Fit the predictor to results; measured rows outweigh simulated ones.

Example: moeserve predict fit study.parquet results/mine -o predictor.npz
""",
    "evaluate": """Judge the predictor on what it has not seen, beside simple rules.

Examples:

  moeserve predict evaluate study.parquet --split leave-one-model-out

  moeserve predict evaluate --field --objective throughput-per-gpu
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
    list[str] | None,
    typer.Argument(metavar="RESULTS...", help="Results directories, CSV or Parquet."),
]
FieldOption = Annotated[
    bool, typer.Option("--field", help="Also the published measurements that moeserve ships.")
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
    frame = pd.DataFrame(map(dict, run_study(read_recipe(recipe), workers=workers)))
    part = output_file.with_name(output_file.name + ".part")
    frame.to_parquet(part, index=False)
    part.replace(output_file)
    note(f"{len(frame)} runs of {frame['case_id'].nunique()} cases simulated into {output_file}")


def fit(
    output_file: Annotated[Path, typer.Option("-o", "--output", help="Predictor to write.")],
    results: ResultsArgument = None,
    field: FieldOption = False,
    objective: ObjectiveOption = "throughput",
    calibration: CalibrationOption = None,
    column: ColumnOption = None,
    constant: ConstantOption = None,
    where: WhereOption = None,
    pool: PoolOption = None,
    seed: SeedOption = 0,
    output: FormatOption = Format.table,
) -> None:
    from analysis.predict import predictor
    from analysis.predict.cases import joined
    from analysis.predict.objective import objective_of

    _check_folder(output_file)
    parts = [_field(objective, calibration).cases] if field else []
    if named := _named(results, shipped=field):
        pick = _Pick(where, pool, column, constant)
        parts.insert(0, _cases(named, objective, calibration, pick=pick))
    cases = joined(parts)
    fitted = predictor.fit(
        cases, objective=objective_of(objective), calibration=calibration, seed=seed
    )
    predictor.save(fitted, output_file)
    about = fitted.about
    ranked = sorted(zip(about.importances, about.names, strict=True), reverse=True)
    kept = ranked if output is not Format.table else ranked[:SHOWN_IMPORTANCES]
    show([{"feature": name, "importance": share} for share, name in kept], output)
    note(f"{cases.count} cases, {len(cases.value)} options of {len(about.models)} models")
    note(f"written to {output_file}; its uncertainty rests on {about.uncertainty.basis}")


def evaluate(
    results: ResultsArgument = None,
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
    field: Annotated[
        bool,
        typer.Option("--field", help="Also published measurements, each source left out in turn."),
    ] = False,
    column: ColumnOption = None,
    constant: ConstantOption = None,
    where: WhereOption = None,
    pool: PoolOption = None,
    seed: SeedOption = 0,
    output: FormatOption = Format.table,
) -> None:
    from analysis.predict.field import evaluate_field
    from analysis.predict.published import evaluate_published, published_curve

    pick, rows = _Pick(where, pool, column, constant), list[Row]()
    if named := _named(results, shipped=field or published):
        cases = _cases(named, objective, calibration, tie=tie, pick=pick)
        rows += _judged(cases, split, curve=curve, seed=seed)
    else:
        refuse_given({"--split": split, "--tie": tie, "--where": where, "--pool": pool,
                      "--column": column, "--constant": constant},
                     "with RESULTS of your own: it is about them alone")  # fmt: skip
    if published:
        rows += evaluate_published(_uncalibrated(named, pick), seed=seed)
        rows += published_curve(seed=seed) if curve else ()
    if field:
        told = _field(objective, calibration)
        rows += evaluate_field(told, seed=seed)
        note(f"published: {told.cases.count} loads under which one source measured several layouts;"
             f" a choice within {told.cases.tie:.0%} of the best counts as right")  # fmt: skip
    columns = (*EVALUATE_COLUMNS[:4], "models_trained_on", *EVALUATE_COLUMNS[4:])
    show(rows, output, columns=columns if curve else EVALUATE_COLUMNS)


def _judged(cases: "Cases", split: list[str] | None, *, curve: bool, seed: int) -> list[Row]:
    """Held-out scores of run-table rows, with what counts as right said beside."""
    from analysis.predict.evaluate import evaluate, learning_curve
    from analysis.predict.splits import SPLITS, split_of

    splits = [split_of(name) for name in split or SPLITS]
    rows: list[Row] = list(evaluate(cases, splits=splits, seed=seed))
    rows += learning_curve(cases, seed=seed) if curve else ()
    note(f"a choice within {cases.tie:.1%} of the best counts as right; intervals resample models")
    if set(cases.provenance) == {"simulated"}:
        note("simulated rows only: they share the analytic model's equations, so this says how "
             "well the simulation is learned, not how real servers behave")  # fmt: skip
    return rows


def _named(results: list[str] | None, *, shipped: bool) -> list[str]:
    """The results asked about: none only where shipped measurements are."""
    if not results and not shipped:
        allowed = "a results directory, CSV or Parquet; or --field, and to evaluate --published"
        raise BadValue("RESULTS", "none", allowed)
    return results or []


def _field(objective: str, calibration: str | None) -> "Field":
    from analysis.predict.field import field_cases
    from analysis.predict.objective import objective_of
    from moeserve.cli.calibrations import constants_of

    return field_cases(objective_of(objective), constants_of(calibration))


def _check_folder(path: Path) -> None:
    """Before the work, not after it."""
    if not path.parent.is_dir():
        raise BadFile(path, "its folder does not exist")
    if path.is_dir():
        raise BadFile(path, "is a folder; name a file")


@dataclass(frozen=True, slots=True)
class _Pick:
    """Which rows are learned from, and what of them is overlooked."""

    where: list[str] | None
    pool: list[str] | None
    column: list[str] | None
    constant: list[str] | None

    def read(self, results: list[str]) -> "pd.DataFrame":
        paths = [Path(path) for path in results]
        return read(paths, self.where, column=self.column, constant=self.constant)

    @property
    def pooled(self) -> tuple[str, ...]:
        return tuple(self.pool or ())


def _cases(
    results: list[str],
    objective: str,
    calibration: str | None,
    *,
    pick: _Pick,
    tie: float | None = None,
) -> "Cases":
    from analysis.predict.objective import objective_of
    from analysis.predict.read import read_cases
    from moeserve.cli.calibrations import constants_of

    cases = read_cases(
        pick.read(results), objective=objective_of(objective),
        constants=constants_of(calibration), tie=tie, pool=pick.pooled,
    )  # fmt: skip
    for reason, count in cases.skipped.items():
        note(f"{count} rows left out: {reason}")
    return cases


def _uncalibrated(results: list[str], pick: _Pick) -> "Cases | None":
    """The rows that no calibration to the A100 study has touched, for judging its tables."""
    from analysis.predict.read import read_cases
    from perfmodel.constants import A100_VLLM, A100_VLLM_GROWTH, ROOFLINE

    if not results or "calibration" not in (frame := pick.read(results)):
        return None
    fitted = frame["calibration"].isin([A100_VLLM.name, A100_VLLM_GROWTH.name])
    free = frame[frame["calibration"].notna() & ~fitted]
    return read_cases(free, constants=ROOFLINE, pool=pick.pooled) if len(free) else None
