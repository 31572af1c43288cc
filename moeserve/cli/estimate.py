"""`moeserve estimate`: what a layout will do under load, and constants fitted to what one did."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from catalog.errors import BadFile, BadValue
from moeserve.cli.calibrations import ABOUT_COLUMNS, about_calibration_rows, constants_of
from moeserve.cli.options import ExperimentArgument, ExperimentFlags, with_experiment
from moeserve.cli.show import Format, FormatOption, counted, headed, note, show
from orchestrator.results.record import SIMULATED, Row

if TYPE_CHECKING:
    from orchestrator.experiment.experiment import Experiment
    from perfmodel.calibrate import CalibrationFit
    from perfmodel.constants import Constants
    from perfmodel.experts import RoutingSkew
    from perfmodel.serving import ServerSettings

ESTIMATE_HELP = """Say what a layout will do under load; the same flags as `run`, nothing started.

Examples:

  moeserve estimate --model mixtral --strategy tp,ep --hardware H100 --concurrency 1..128

  moeserve estimate --calibrate results/mine --save mine.json

  moeserve estimate --calibration mine.json --strategy ep

  moeserve estimate --model mixtral --hardware H100 --kernel-tables installed

  moeserve estimate --model tiny-olmoe --strategy ep --routing routing.json

--calibrate fits the model's constants to measured runs; --calibration uses them.
"""
ESTIMATE_COLUMNS = headed(
    "model", "strategy", "num_gpus", "hardware", "workload", "max_concurrency",
    "effective_concurrency", "request_rate", "output_throughput", "low_output_throughput",
    "high_output_throughput", "output_throughput_per_gpu", "mean_ttft_ms", "mean_itl_ms",
    "mean_e2el_ms", "request_goodput", "kv_tokens_capacity", "bound", "tied_with", "provenance",
    "why",
)  # fmt: skip
BREAKDOWN_COLUMNS = (
    "model", "strategy", "hardware", "workload", "max_concurrency", "step", "step_ms", "part",
    "part_ms", "part_bound", "moved_bytes", "flops", "priced_by",
)  # fmt: skip
FIT_COLUMNS = ("what", "name", "value", "low", "high", "runs")


def add_to(app: typer.Typer) -> None:
    app.command("estimate", help=ESTIMATE_HELP)(estimate)


@with_experiment
def estimate(
    flags: ExperimentFlags,
    experiment: ExperimentArgument = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            "--calibration",
            help="vllm-2026 (default), vllm-2026-kernels (beside measured experts), a100-vllm, "
            "a100-vllm-growth, roofline, or a FILE.json.",
        ),
    ] = None,
    calibrate: Annotated[
        list[str] | None,
        typer.Option("--calibrate", help="Fit constants to these results instead; repeatable."),
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", help="Write the fitted constants to this file.")
    ] = None,
    about_calibration: Annotated[
        bool,
        typer.Option("--about-calibration", help="Its constants, their source and known error."),
    ] = False,
    kernels: Annotated[
        str | None,
        typer.Option(
            "--kernel-tables",
            help="Measured kernels where they have the shape: `installed` (moeserve[kernels]), a "
            "FOLDER of such tables, or what `microbench experts -o` wrote.",
        ),
    ] = None,
    breakdown: Annotated[
        bool, typer.Option("--breakdown", help="The parts of a prefill and of a decode step.")
    ] = False,
    prefix_cached: Annotated[
        bool, typer.Option("--prefix-cached", help="As if every prompt had been served before.")
    ] = False,
    zipf: Annotated[
        float, typer.Option("--zipf", help="Skew of expert popularity; 0 is uniform.")
    ] = 0.0,
    imbalance: Annotated[
        float, typer.Option("--imbalance", help="Busiest expert rank's load over the mean.")
    ] = 1.0,
    routing: Annotated[
        Path | None,
        typer.Option(
            "--routing",
            help="Where tokens go, instead of a law: a file of `moeserve routing --save`, or a "
            "run's experts.parquet.",
        ),
    ] = None,
    usable_fraction: Annotated[
        float | None,
        typer.Option("--usable-fraction", help="Share of GPU memory the server may take (0.9)."),
    ] = None,
    max_num_batched_tokens: Annotated[
        int | None,
        typer.Option("--max-num-batched-tokens", help="Tokens a step, as vLLM's flag."),
    ] = None,
    max_num_seqs: Annotated[
        int | None, typer.Option("--max-num-seqs", help="Sequences a step, as vLLM's flag.")
    ] = None,
    engine_version: Annotated[
        str | None,
        typer.Option(
            "--engine-version", help="Of vLLM, whose defaults count; default the newest known."
        ),
    ] = None,
    output: FormatOption = Format.table,
) -> None:
    from perfmodel.engine_defaults import NEWEST_READ, beyond_read, check_version
    from perfmodel.kernel_tables.source import kernel_tables
    from perfmodel.serving import ServerSettings
    from servers.simulated.arguments import ServerArguments, server_arguments

    asked = ServerArguments(
        max_num_batched_tokens=max_num_batched_tokens,
        max_num_seqs=max_num_seqs,
        gpu_memory_utilization=usable_fraction,
    )
    assumed = asked.setup(
        ServerSettings(
            prefix_cached=prefix_cached,
            routing=_routing(routing, zipf, imbalance),
            engine_version=None if engine_version is None else check_version(engine_version),
            constants=constants_of(calibration),
            kernel_tables=None if kernels is None else kernel_tables(kernels),
        )
    )
    _check_fit(calibrate, experiment, save)
    if about_calibration:
        if calibrate:
            way = "one of the two: --save keeps a fit, --calibration FILE is told about"
            raise BadValue("--about-calibration", "--calibrate", way)
        show(about_calibration_rows(assumed), output, columns=ABOUT_COLUMNS)
        return
    if calibrate:
        show(_fit(calibrate, assumed, save), output, columns=FIT_COLUMNS)
        return
    study = flags.experiment(experiment)
    if study.find_max:
        way = "with run --engine simulated, which searches; an estimate is of the loads named"
        raise BadValue("--find-max", "on", way)
    asked.joined(server_arguments(study.server.args))  # refuses what is set twice
    _estimate(study, assumed, output, breakdown=breakdown)
    if beyond_read(engine_version):
        note(f"vLLM {engine_version} is newer than {NEWEST_READ}, the last whose defaults are known"
             ": those; --max-num-batched-tokens and --max-num-seqs set others")  # fmt: skip


def _check_fit(calibrate: list[str] | None, experiment: object, save: Path | None) -> None:
    """Refuse, before a fit, what it would overlook or what could not be read again."""
    if calibrate and experiment is not None:
        allowed = "none beside --calibrate, which is repeated for more results"
        raise BadValue("EXPERIMENT", str(experiment), allowed)
    if save is not None and not calibrate:
        raise BadValue("--save", str(save), "beside --calibrate, whose constants it keeps")
    if save is not None and save.suffix != ".json":
        raise BadValue("--save", str(save), "a file named .json, as --calibration reads it")


def _columns(rows: Sequence[Row], *, breakdown: bool) -> Mapping[str, str]:
    """Pick the table's columns; of several techniques each row names its own."""
    chosen = headed(*BREAKDOWN_COLUMNS) if breakdown else ESTIMATE_COLUMNS
    if len({row.get("technique") for row in rows}) < 2:
        return chosen
    model, strategy, *others = chosen.items()
    return dict([model, strategy, ("technique", "technique"), *others])


def _routing(path: Path | None, zipf: float, imbalance: float) -> "RoutingSkew":
    from perfmodel.experts import RoutingSkew

    if path is None:
        return RoutingSkew(zipf=zipf, imbalance=imbalance)
    from perfmodel.routing_file import read_routing

    return msgspec.structs.replace(read_routing(path), zipf=zipf, imbalance=imbalance)


def _estimate(
    experiment: "Experiment", assumed: "ServerSettings", output: Format, *, breakdown: bool
) -> None:
    from moeserve.attribution import attribution_notes
    from orchestrator.estimate import breakdowns, estimates, plan_of
    from orchestrator.estimate_notes import outside_notes, pricing_notes
    from perfmodel.constants import DEFAULT
    from perfmodel.kernel_tables.source import installed_gpus
    from perfmodel.known_error import error_note, version_note

    plan, default = plan_of(experiment), (assumed.constants or DEFAULT).name
    rows = list(breakdowns(plan, assumed) if breakdown else estimates(plan, assumed))
    show(rows, output, columns=_columns(rows, breakdown=breakdown))
    cannot = [f"{each.setup.model} {each.setup.strategy} cannot: {'; '.join(each.reasons)}"
              for each in plan.refused]  # fmt: skip
    for text in (*cannot, *attribution_notes(rows)) if breakdown else ():
        note(text)
    note("estimated: these numbers come from a model of the GPU, not from one")
    offered = () if assumed.kernel_tables else installed_gpus({str(r["hardware"]) for r in rows})
    if offered:
        note(f"measured kernels of {', '.join(sorted(offered))} are installed and not used: "
             "--kernel-tables installed")  # fmt: skip
    for line in (*pricing_notes(rows), *outside_notes(rows)):
        note(line)
    for used in dict.fromkeys(str(row.get("calibration") or default) for row in rows):
        note(error_note(used, assumed.assumed_constants.error))
        if slower := version_note(used, assumed.engine_version):
            note(slower)


def _fit(results: list[str], assumed: "ServerSettings", save: Path | None) -> list[Row]:
    """Fit constants to results; return them, the fit's error and that of models left out."""
    from analysis.data.frame import load
    from orchestrator.measured_runs import measured_runs
    from perfmodel.calibrate import calibrate

    frame = load(*results)
    measured = measured_runs(frame, assumed)
    for why, count in measured.left_out.items():
        note(f"{counted(count, 'row')} left out: {why}")
    if len(gpus := sorted({run.gpu.name for run in measured.runs})) > 1:
        note(f"one set of constants for {', '.join(gpus)}: give the results of one for its own")
    engines = sorted(set(frame["engine"].dropna().astype(str))) if "engine" in frame else []
    if len(engines) > 1:
        note(f"one set of constants for {', '.join(engines)}: give the results of one for its own")
    fit = calibrate(measured.runs, start=assumed.assumed_constants, setup=assumed)
    if "provenance" in frame and (frame["provenance"] == SIMULATED).any():
        note("simulated runs are among these: the constants describe a model, not a GPU")
    for constant in fit.fitted:
        if not constant.determined:
            note(f"{constant.name}: these runs say little of it, so it stays near where it began")
    if save is not None:
        _save(fit.constants, save)
    return _fit_rows(fit)


def _save(constants: "Constants", path: Path) -> None:
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(constants)) + b"\n")
    except OSError as error:
        raise BadFile(path, f"cannot be written: {error.strerror}") from error
    note(f"constants written to {path}")


def _fit_rows(fit: "CalibrationFit") -> list[Row]:
    import numpy as np

    constants: list[Row] = [
        {"what": "constant", "name": c.name, "value": c.value, "low": c.low, "high": c.high}
        for c in fit.fitted
    ]
    errors = {"fit": fit.errors, **fit.left_out}
    return constants + [
        {
            "what": "rms_log_error" if name == "fit" else "left_out_rms_log_error",
            "name": name,
            "value": float(np.sqrt(np.mean(np.log1p(each) ** 2))),
            "low": float(each.min()),
            "high": float(each.max()),
            "runs": len(each),
        }
        for name, each in errors.items()
    ]
