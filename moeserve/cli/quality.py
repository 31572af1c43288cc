"""`moeserve quality`: perplexity of every configuration, and how far each is from a reference."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catalog.errors import BadFile
from moeserve.cli.options import ExperimentArgument, ExperimentFlags, with_experiment
from moeserve.cli.run import ResultDir
from moeserve.cli.show import Format, FormatOption, headed, note, show
from orchestrator.results.record import ColumnValue

if TYPE_CHECKING:
    from orchestrator.experiment.experiment import Experiment
    from orchestrator.experiment.server_group import ServerGroup
    from orchestrator.plan import Study
    from orchestrator.quality.record import QualitySpec

HELP = """Measure quality over the OpenAI API: perplexity, and agreement with a reference.

Examples:

  moeserve quality results/mine --text wiki.test.raw

  moeserve quality --engine vllm -m tiny-mixtral -s single,tp -t none,bf16 --window 256 -o out

  moeserve quality --endpoint http://127.0.0.1:8000 --text wiki.test.raw -o out

The first argument is an experiment file or a results directory, whose study is then measured and
whose runs get the columns. The text that ships, `sample`, is too short to judge a real model.
"""
LAYOUTS_AGREE = 0.01
"""Layouts of one model may differ in perplexity by rounding, not by more than this."""
COLUMNS = headed(
    "model", "strategy", "technique", "gpu_type", "perplexity", "perplexity_low", "perplexity_high",
    "quality_tokens", "reference", "perplexity_ratio", "token_agreement", "kl_divergence",
    "kl_mass", "same_perplexity",
)  # fmt: skip


def add_to(app: typer.Typer) -> None:
    app.command("quality", help=HELP)(quality)


@with_experiment
def quality(
    flags: ExperimentFlags,
    experiment: ExperimentArgument = None,
    result_dir: ResultDir = None,
    text: Annotated[
        str, typer.Option("--text", help="A UTF-8 text file, or sample: the one that ships.")
    ] = "sample",
    tokens: Annotated[
        int | None, typer.Option("--tokens", help="Tokens of it, at most; default 262144.")
    ] = None,
    window: Annotated[
        int | None, typer.Option("--window", help="Tokens of a window; default 1024.")
    ] = None,
    top: Annotated[
        int, typer.Option("--top", help="Likeliest tokens of each position, for the divergence.")
    ] = 8,
    reference: Annotated[
        str | None,
        typer.Option("--reference", help="STRATEGY, TECHNIQUE or both with /; default the first."),
    ] = None,
    output: FormatOption = Format.table,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    from orchestrator.quality.record import QualitySpec

    sizes = {"tokens": tokens, "window": window}
    given = {name: value for name, value in sizes.items() if value is not None}
    spec = QualitySpec(text=text, top=top, **given)
    asked, directory = _asked(flags, experiment, result_dir)
    raise typer.Exit(_measure(asked, directory, spec, reference, output, quiet=quiet))


def _asked(
    flags: ExperimentFlags, given: Path | None, result_dir: Path | None
) -> tuple["Experiment", Path]:
    """Take the study from a results directory or a file, and say where its quality goes."""
    from orchestrator.results.directory import default_directory

    if given is not None and given.is_dir():
        study = given / "experiment.json"
        if not study.is_file():
            raise BadFile(given, f"is not a results directory: it has no {study.name} in it")
        return flags.experiment(study), result_dir or given
    if given is not None and not given.exists():
        raise BadFile(given, "no such results directory or experiment file")
    asked = flags.experiment(given)
    return asked, result_dir or default_directory(asked)


def _measure(
    asked: "Experiment",
    directory: Path,
    spec: "QualitySpec",
    reference: str | None,
    output: Format,
    *,
    quiet: bool,
) -> int:
    """Measure what is missing, compare, print; return the exit code."""
    from orchestrator.quality.measure import check_possible
    from orchestrator.quality.record import reference_setup
    from orchestrator.quality.rows import compare_all, quality_rows
    from orchestrator.study import prepare
    from workloads.quality.windows import check_text

    check_text(spec.text, window=spec.window)
    study = asyncio.run(prepare(asked))
    check_possible(study)
    for model in study.plan.models:
        reference_setup(study.plan, reference, model)
    failed = asyncio.run(_ask_all(study, directory, spec, quiet=quiet))
    for problem in compare_all(directory, study.plan, spec, reference):
        note(problem)
    rows = quality_rows(directory, study.plan, spec)
    show(rows, output, columns=COLUMNS)
    if rows:
        note(f"quality in {directory}/quality; KL counts the listed tokens, so it is at least this")
    _warn_of_layouts(rows)
    return 0 if not failed else 5 if rows else 3


async def _ask_all(study: "Study", directory: Path, spec: "QualitySpec", *, quiet: bool) -> int:
    from orchestrator.engines.registry import engine_kind
    from orchestrator.quality.measure import QualityProgress, measure_quality

    said: dict[str, str] = {}

    def stage(group: "ServerGroup", text: str) -> None:
        if not quiet and said.get(group.group_id) != text:
            said[group.group_id] = text
            note(f"{group.setup.what}: {text}")

    progress = QualityProgress(stage, lambda group, error: note(f"{group.setup.what}: {error}"))
    failed = await measure_quality(
        study, directory, spec, engine=engine_kind(study.engine).build(), progress=progress
    )
    return len(failed)


def _warn_of_layouts(rows: "list[dict[str, ColumnValue]]") -> None:
    """Layouts of one model and technique compute the same function: say where they do not."""
    for row in rows:
        alike = [
            other
            for other in rows
            if all(other[name] == row[name] for name in ("model", "technique"))
        ]
        first = alike[0]
        ratio = float(row["perplexity"] or 0.0) / float(first["perplexity"] or 1.0)
        if abs(ratio - 1.0) > LAYOUTS_AGREE:
            note(
                f"QUALITY_DIFFERS: {row['model']} {row['technique']}: perplexity "
                f"{row['perplexity']:.4g} as {row['strategy']}, {first['perplexity']:.4g} as "
                f"{first['strategy']}: layouts of one model should not differ"
            )
