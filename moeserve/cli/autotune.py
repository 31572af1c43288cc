"""`moeserve autotune`: every way to divide GPUs, ranked, and why."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from catalog.errors import BadValue
from moeserve.cli.calibrations import constants_of
from moeserve.cli.show import Format, FormatOption, note, show
from orchestrator.results.record import Row

if TYPE_CHECKING:
    from catalog.hardware import Gpu
    from catalog.models import Model
    from perfmodel.autotune import Candidate
    from perfmodel.constants import Constants

AUTOTUNE_HELP = """Rank every way to divide GPUs over tp, pp, ep, dp and cache parallelism.

Example: moeserve autotune --model DeepSeek-V3 --hardware H200 --gpus 64 --context 32768
"""
COLUMNS = (
    "tp", "pp", "ep", "dp", "kvp", "cp", "feasible", "b_max", "b_max_by", "batch",
    "tokens_per_s_per_gpu", "tokens_per_s", "low_tokens_per_s", "high_tokens_per_s", "latency_s",
    "pareto", "tied_with", "why",
)  # fmt: skip
TABLE_ROWS = 20
NOTHING_FEASIBLE = 4


def add_to(app: typer.Typer) -> None:
    app.command("autotune", help=AUTOTUNE_HELP)(autotune)


def autotune(
    model: Annotated[str, typer.Option("--model", "-m", help="Name, id or path.")],
    gpus: Annotated[int, typer.Option("--gpus", help="GPUs to divide, 1 to 1024.")],
    context: Annotated[int, typer.Option("--context", help="Tokens each sequence holds.")] = 4096,
    hardware: Annotated[str, typer.Option("--hardware", help="GPU's name, or its file.")] = "H100",
    batch: Annotated[
        int | None, typer.Option("--batch", help="Sequences in all; default as many as fit.")
    ] = None,
    max_num_seqs: Annotated[
        str | None,
        typer.Option(
            "--max-num-seqs",
            help="Sequences a replica serves at once, as vLLM's flag; default vLLM's own for the "
            "GPU, `none` as many as memory holds.",
        ),
    ] = None,
    max_latency_ms: Annotated[
        float | None, typer.Option("--max-latency-ms", help="Most time an output token may take.")
    ] = None,
    dense_quality: Annotated[
        float | None,
        typer.Option("--dense", help="Search for the dense twin of this quality factor q instead."),
    ] = None,
    dispatch: Annotated[
        Literal["best", "gather", "all-to-all"],
        typer.Option("--dispatch", help="How tokens reach experts on other replicas."),
    ] = "best",
    island: Annotated[
        int | None,
        typer.Option("--island", min=1, help="GPUs one fast fabric joins; default its own."),
    ] = None,
    usable_fraction: Annotated[
        float, typer.Option("--usable-fraction", help="Share of GPU memory the server may take.")
    ] = 0.9,
    calibration: Annotated[
        str | None, typer.Option("--calibration", help="Default vllm-2026; or a fitted FILE.json.")
    ] = None,
    expert_rereads: Annotated[
        float,
        typer.Option("--expert-rereads", help="Times a step reads each expert: fragmentation."),
    ] = 1.0,
    pareto: Annotated[bool, typer.Option("--pareto", help="Only the Pareto front.")] = False,
    top: Annotated[
        int | None,
        typer.Option("--top", min=1, help="Only the best; a table shows 20 unless told."),
    ] = None,
    output: FormatOption = Format.table,
) -> None:
    from catalog.from_hf import load_model
    from orchestrator.engines.checks import check_kind
    from orchestrator.estimate_notes import outside_notes
    from perfmodel.autotune import Goal, search
    from perfmodel.constants import DEFAULT
    from perfmodel.decode import Pricing
    from perfmodel.known_error import error_note
    from perfmodel.memory import Conventions
    from perfmodel.twin import dense_twin
    from strategies.own_gpus import find_gpu

    constants = constants_of(calibration) or DEFAULT
    if expert_rereads != 1:  # a set of its own then, compared with nothing
        name = f"{constants.name}, experts read {expert_rereads:g} times"
        constants = msgspec.structs.replace(
            constants, name=name, error=None, expert_rereads=expert_rereads
        )
    spec, gpu = load_model(model), find_gpu(hardware)
    check_kind(spec)
    longest = spec.max_context
    spec = spec if dense_quality is None else dense_twin(spec, dense_quality)
    found = search(
        spec,
        msgspec.structs.replace(gpu, island=island or gpu.island),
        gpus,
        goal=Goal(
            context,
            batch,
            latency_s=None if max_latency_ms is None else max_latency_ms / 1e3,
            max_num_seqs=_sequences(max_num_seqs, gpu),
        ),
        conventions=Conventions(usable_fraction=usable_fraction),
        pricing=Pricing(constants=constants, dispatch=dispatch),
    )
    kept = [row for row in found if row.pareto or not pareto]
    limit = top or (TABLE_ROWS if output is Format.table else len(kept))
    known = {"provenance": "simulated", "hardware": gpu.name, "model": model}
    told = _rows(kept[:limit], found[:TABLE_ROWS], spec, gpu, constants, context)
    rows: list[Row] = [{**known, **row} for row in told]
    show(rows, output, columns=COLUMNS)
    fit = sum(row.feasible for row in found)
    note(f"{fit} of {len(found)} partitions fit, {len(rows)} shown: estimated, not measured")
    if 0 < longest < context:
        note(f"{spec.name} was made for {longest} tokens, and no server takes {context} unasked")
    if max_num_seqs is None and any(row.b_max_by == "max_num_seqs" for row in kept[:limit]):
        most = _sequences(None, gpu)
        note(f"b_max: {most} sequences a replica is vLLM's own limit; --max-num-seqs none lifts it")
    for line in outside_notes(rows):
        note(line)
    note(error_note(constants.name, constants.error))
    if not fit:
        raise typer.Exit(NOTHING_FEASIBLE)


def _sequences(text: str | None, gpu: "Gpu") -> int | None:
    """The limit of a replica: what was asked, else vLLM's own; None where it was lifted."""
    from perfmodel.engine_defaults import engine_defaults

    if text is None:
        return engine_defaults(gpu).max_num_seqs
    if text.lower() == "none":
        return None
    if not text.isdecimal() or not int(text):
        raise BadValue("--max-num-seqs", text, "1 or more, or none")
    return int(text)


def _rows(
    shown: "Sequence[Candidate]",
    best: "Sequence[Candidate]",
    model: "Model",
    gpu: "Gpu",
    constants: "Constants",
    context: int,
) -> list[Row]:
    """Each partition with its 90 % bounds, and which of the best are not told from it."""
    from perfmodel.fitted_error import Asked
    from perfmodel.known_error import confidence, error_bounds, tied
    from strategies.layout import Layout

    rows: list[Row] = []
    for row in shown:
        alike = [e.name for e in best if e is not row and tied(e.tokens_per_s, row.tokens_per_s)]
        layout = Layout(tp=row.tp, pp=row.pp, dp=row.dp * row.kvp * row.cp, ep=True)
        latency_ms = None if row.latency_s is None else 1e3 * row.latency_s
        figures = {"output_throughput": row.tokens_per_s, "mean_tpot_ms": latency_ms}
        # Of a prompt and its answer a sequence holds no more than the context.
        asked = Asked(
            total_params=model.total_params, input_len=context, in_flight=row.batch or None
        )
        asking = (constants.name, layout, gpu)
        bounds = error_bounds(*asking, figures, asked, fitted=constants.error)
        outside = confidence(*asking, asked, fitted=constants.error).outside
        told = {
            "low_tokens_per_s": bounds["low_output_throughput"],
            "high_tokens_per_s": bounds["high_output_throughput"],
            "low_latency_s": _seconds(bounds["low_mean_tpot_ms"]),
            "high_latency_s": _seconds(bounds["high_mean_tpot_ms"]),
            "outside_calibration": "; ".join(outside) if row.feasible else "",
        }
        rows.append({**asdict(row), **told, "tied_with": ",".join(alike)})
    return rows


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1e3
