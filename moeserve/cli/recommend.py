"""`moeserve predict recommend` and `switch`: a strategy for a load, and when to change it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catalog.errors import BadValue
from moeserve.cli.show import Format, FormatOption, note, show
from orchestrator.results.record import Row

if TYPE_CHECKING:
    from analysis.predict.predictor import Predictor
    from analysis.predict.recommend import Option, Recommendation, RecommendationRequest

HELP = {
    "recommend": """Recommend a strategy for a model, GPUs and a load, and say how sure it is.

Example: moeserve predict recommend -m Qwen3-30B-A3B --hardware H100 --gpus 4 --concurrency 64
""",
    "switch": """Tell at which concurrency the best strategy changes: a table for a router.

Example: moeserve predict switch -m OLMoE-1B-7B --hardware H100 --gpus 2 --concurrency 1..256
""",
}
RECOMMEND_COLUMNS = (
    "strategy", "expected", "low", "high", "unit", "expected_output_throughput",
    "expected_ttft_ms", "expected_tpot_ms", "probability", "regret_estimate", "tied_with", "source",
    "bound",
)  # fmt: skip
ROUTER_PROMPTS = 2

ObjectiveOption = Annotated[
    str, typer.Option("--objective", help="throughput, throughput-per-gpu, goodput or price.")
]
CalibrationOption = Annotated[
    str | None,
    typer.Option("--calibration", help="Of the analytic features; default vllm-2026."),
]
ModelOption = Annotated[str, typer.Option("--model", "-m", help="Name, Hugging Face id or path.")]
HardwareOption = Annotated[str, typer.Option("--hardware", help="GPU's name, or its file.")]
GpusOption = Annotated[int, typer.Option("--gpus", min=1, help="GPUs to use.")]
WorkloadOption = Annotated[str, typer.Option("--workload", "-w", help="Name or IN:OUT:PROMPTS.")]
StrategyOption = Annotated[
    list[str] | None,
    typer.Option("--strategy", "-s", help="Only these; default every layout of the GPUs."),
]
PredictorOption = Annotated[
    Path | None,
    typer.Option("--predictor", help="File of predict fit; without it the analytic model alone."),
]


def add_to(app: typer.Typer) -> None:
    app.command("recommend", help=HELP["recommend"])(recommend)
    app.command("switch", help=HELP["switch"])(switch)


def recommend(
    model: ModelOption,
    hardware: HardwareOption,
    gpus: GpusOption,
    workload: WorkloadOption = "decode-heavy",
    concurrency: Annotated[int, typer.Option("--concurrency", "-c", min=1, help="In flight.")] = 32,
    strategy: StrategyOption = None,
    predictor: PredictorOption = None,
    objective: ObjectiveOption = "throughput",
    calibration: CalibrationOption = None,
    output: FormatOption = Format.table,
) -> None:
    from analysis.predict.recommend import recommend as ranked

    fitted = _predictor(predictor, objective)
    request = _request(model, hardware, gpus, workload=workload, concurrency=concurrency,
                         strategy=strategy, objective=objective,
                         calibration=_calibration(calibration, fitted))  # fmt: skip
    found = ranked(request, fitted)
    show(_option_rows(found), output, columns=RECOMMEND_COLUMNS)
    _notes([found])
    if found.next_runs:
        note("these runs would reduce the uncertainty most:")
    for name, load in found.next_runs:
        note(f"  moeserve run --model {request.model.name} --strategy {name} --hardware "
             f"{request.gpu.name} --workload {workload} --concurrency {load}")  # fmt: skip


def switch(
    model: ModelOption,
    hardware: HardwareOption,
    gpus: GpusOption,
    workload: WorkloadOption = "decode-heavy",
    concurrency: Annotated[
        str, typer.Option("--concurrency", "-c", help="1..256 or a list.")
    ] = "1..256",
    strategy: StrategyOption = None,
    predictor: PredictorOption = None,
    objective: ObjectiveOption = "throughput",
    calibration: CalibrationOption = None,
    output: FormatOption = Format.table,
) -> None:
    from analysis.predict.switching import recommendations, stretches_of
    from workloads.load.concurrency import parse_levels

    fitted = _predictor(predictor, objective)
    loads = parse_levels(concurrency)
    request = _request(model, hardware, gpus, workload=workload, concurrency=loads[0],
                         strategy=strategy, objective=objective,
                         calibration=_calibration(calibration, fitted))  # fmt: skip
    asked = recommendations(request, loads, fitted, prompts_per_load=ROUTER_PROMPTS)
    show(stretches_of(asked), output)
    _notes([found for _, found in asked])
    note("a stretch that is not clear is no reason to switch: measure at its ends first")


def _notes(each: "Sequence[Recommendation]") -> None:
    """Say, each once, what cannot be and what the answers rest on."""
    refused = dict.fromkeys(pair for found in each for pair in found.refused)
    told = [f"{name} cannot: {why}" for name, why in refused]
    for text in (*told, *dict.fromkeys(text for found in each for text in found.notes)):
        note(text)


def _predictor(path: Path | None, objective: str) -> "Predictor | None":
    from analysis.predict.predictor import load_predictor

    if path is None:
        return None
    fitted = load_predictor(path)
    if fitted.about.objective != objective:
        raise BadValue("objective", objective, f"{fitted.about.objective}, as {path} was fitted")
    return fitted


def _calibration(asked: str | None, fitted: "Predictor | None") -> str | None:
    from perfmodel.constants import DEFAULT

    if fitted is None:
        return asked
    own = fitted.about.calibration
    if asked not in (None, own or DEFAULT.name):
        raise BadValue("calibration", asked, f"{own or DEFAULT.name}, as the predictor's features")
    return own


def _request(
    model: str,
    hardware: str,
    gpus: int,
    *,
    workload: str,
    concurrency: int,
    strategy: list[str] | None,
    objective: str,
    calibration: str | None,
) -> "RecommendationRequest":
    from analysis.predict.objective import objective_of
    from analysis.predict.recommend import RecommendationRequest
    from analysis.predict.steady_state import Demand
    from catalog.from_hf import load_model
    from moeserve.cli.calibrations import constants_of
    from orchestrator.engines.checks import check_kind
    from orchestrator.engines.context import check_context
    from strategies.own_gpus import find_gpu
    from strategies.parse import parse_layouts
    from workloads.load.profiles import parse_workload

    shape, served = parse_workload(workload), load_model(model)
    check_kind(served)
    if shape.parts:
        allowed = "one length of prompts and one of answers: INPUT:OUTPUT:PROMPTS"
        raise BadValue("--workload", workload, allowed)
    check_context(shape, served)
    prompts = shape.prompts_for(concurrency)
    layouts = parse_layouts(strategy, gpus=gpus) if strategy else ()
    over = [layout for layout in layouts if layout.num_gpus > gpus]
    if over:
        raise BadValue("strategy", over[0].name, f"one of at most {gpus} GPUs")
    return RecommendationRequest(
        model=served,
        gpu=find_gpu(hardware),
        gpus=gpus,
        demand=Demand(shape.input_len, shape.output_len, prompts, concurrency),
        layouts=layouts,
        objective=objective_of(objective),
        constants=constants_of(calibration),
    )


def _share(bound: float | None, option: "Option") -> float | None:
    """A bound of the objective as one of its throughput."""
    return None if bound is None else option.throughput * bound / option.value


def _option_rows(found: "Recommendation") -> list[Row]:
    from analysis.predict.objective import UNITS

    request = found.request
    return [
        {
            "model": request.model.name,
            "hardware": request.gpu.name,
            "strategy": option.strategy,
            "expected": option.value,
            "low": option.low,
            "high": option.high,
            "unit": UNITS[request.objective],
            "expected_output_throughput": option.throughput,
            "low_output_throughput": _share(option.low, option),
            "high_output_throughput": _share(option.high, option),
            "expected_ttft_ms": option.estimate.ttft_s * 1e3,
            "expected_tpot_ms": option.estimate.tpot_ms,
            **option.latency_bounds,
            "probability": option.probability,
            "regret_estimate": option.regret,
            "tied_with": ",".join(option.tied_with),
            "source": option.source,
            "bound": option.estimate.decode.bound,
            "expected_gain_of_measuring": option.gain,
        }
        for option in found.options
    ]
