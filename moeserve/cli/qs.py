"""`moeserve qs`: would a dense model of the same quality read fewer weight bytes?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from analysis.optional_dependencies import need_extra
from catalog.errors import BadValue
from moeserve.cli.show import Format, FormatOption, note, show

if TYPE_CHECKING:
    from perfmodel.against_twin import Cluster, SystemChange

QS_HELP = """Does a dense model of the same quality read fewer weight bytes? (It does if q s < 1.)

Examples:

  moeserve qs --model DeepSeek-V3 --quality 5 --gpus 64 --context 131072

  moeserve qs --experts 128 --top-k 8 --quality 5

  moeserve qs --experts 128 --top-k 1 --losses 2.34:2.12

  moeserve qs --model DeepSeek-V3 --gpus 64 --context 131072 --sensitivity --save systems.svg

--sensitivity and --attribution search the best partition of the model and of its dense twin.
"""
COLUMNS = (
    "model", "experts", "top_k", "s", "q", "qs", "dense_advantaged", "crossover_batch",
    "dense_params", "gpus", "context", "b_moe", "b_dense", "r_moe", "r_dense", "routing_factor",
    "capacity_factor", "reuse_gap", "feasible",
)  # fmt: skip


NOTHING_FEASIBLE = 4
SENSITIVITY = (
    "model", "varied", "value", "speedup", "moe_tokens_per_s", "dense_tokens_per_s", "moe_batch",
    "dense_batch", "moe_partition", "dense_partition",
)  # fmt: skip
ATTRIBUTION = (
    "model", "variant", "tokens_per_s", "batch", "hbm_units", "compute_units",
    "communication_units", "hbm_us_per_token", "compute_us_per_token",
    "communication_us_per_token", "partition",
)  # fmt: skip


def add_to(app: typer.Typer) -> None:
    app.command("qs", help=QS_HELP)(qs)


def qs(
    models: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Name, id or path; default some well-known MoE models."),
    ] = None,
    quality: Annotated[
        float | None,
        typer.Option("--quality", "-q", help="q: how much larger an equal dense model is [5]."),
    ] = None,
    losses: Annotated[
        str | None,
        typer.Option("--losses", help="DENSE:MOE, losses of equal active size, that give q."),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option("--alpha", help="Of --losses: loss falls as size to this power [0.076]."),
    ] = None,
    experts: Annotated[int | None, typer.Option("--experts", help="Instead of a model.")] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", help="With --experts.")] = None,
    gpus: Annotated[
        int | None, typer.Option("--gpus", help="With --context: largest batches on so many GPUs.")
    ] = None,
    context: Annotated[int | None, typer.Option("--context", help="Tokens a sequence.")] = None,
    hardware: Annotated[str, typer.Option("--hardware", help="GPU's name, or its file.")] = "B200",
    tp: Annotated[
        int | None, typer.Option("--tp", help="Tensor parallel ways; default up to 8.")
    ] = None,
    ep: Annotated[
        int | None,
        typer.Option("--ep", help="Ways experts spread beside tp; default all GPUs, 1 is none."),
    ] = None,
    usable_fraction: Annotated[
        float, typer.Option("--usable-fraction", help="Share of GPU memory for the server.")
    ] = 0.9,
    weight_dtype: Annotated[
        str, typer.Option("--weight-dtype", help="As fp8 or bfloat16.")
    ] = "fp8",
    kv_dtype: Annotated[str, typer.Option("--kv-dtype", help="As bfloat16 or fp8.")] = "bfloat16",
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Dense over MoE on systems that differ a little.")
    ] = False,
    attribution: Annotated[
        bool, typer.Option("--attribution", help="HBM, computing, communication a token of both.")
    ] = False,
    memory_scale: Annotated[
        float, typer.Option("--memory-scale", help="Times the GPU's memory, as 0.75.")
    ] = 1.0,
    bandwidth_scale: Annotated[
        float, typer.Option("--bandwidth-scale", help="Times its bandwidth; of both searches.")
    ] = 1.0,
    link_scale: Annotated[
        float, typer.Option("--link-scale", help="Times the links' bandwidth; of both searches.")
    ] = 1.0,
    start_up_scale: Annotated[
        float, typer.Option("--start-up-scale", help="Times the links' latency; of both searches.")
    ] = 1.0,
    overlap: Annotated[
        float, typer.Option("--overlap", help="Share of communication hidden; of both searches.")
    ] = 0.0,
    figure: Annotated[
        Path | None,
        typer.Option("--save", help="Draw --sensitivity as .svg, .png or .pdf."),
    ] = None,
    output: FormatOption = Format.table,
) -> None:
    from moeserve.qs import PRINTED_GPU, Operation, count_rows, model_rows, quality_asked
    from perfmodel.against_twin import Cluster, SystemChange
    from perfmodel.capacity import ClusterSplit
    from strategies.own_gpus import find_gpu

    q = quality_asked(quality, losses, alpha)
    change = SystemChange(
        memory=memory_scale,
        bandwidth=bandwidth_scale,
        link=link_scale,
        start_up=start_up_scale,
        overlap=overlap,
    )
    if asks := _asks(models, gpus, context, sensitivity=sensitivity, attribution=attribution):
        cluster = Cluster(
            gpu=find_gpu(hardware), gpus=asks.gpus, context=asks.context,
            usable_fraction=usable_fraction,
        )  # fmt: skip
        _searched(asks, _Pair(q, weight_dtype, cluster, change), figure, output)
        return
    if figure or change != SystemChange(memory=memory_scale):
        flags = "--save, --bandwidth-scale, --link-scale, --start-up-scale or --overlap"
        raise BadValue(flags, "given", "--sensitivity or --attribution beside it")
    if experts is not None or top_k is not None:
        show(count_rows(experts, top_k, q, alone=not models and gpus is None), output)
        return
    operation = None
    if gpus is not None and context is not None:
        gpu = find_gpu(hardware)
        split = ClusterSplit(
            gpus=gpus,
            memory_bytes=change.gpu(gpu).memory_bytes,
            usable_fraction=usable_fraction,
            tp=min(8, gpus) if tp is None else tp,
            ep=ep,
            weight_dtype=weight_dtype,
            kv_dtype=kv_dtype,
        )
        as_printed = gpu.name == PRINTED_GPU and memory_scale == 1
        operation = Operation(split, context, as_printed=as_printed)
        note(split.text)
    elif gpus is not None or context is not None:
        raise BadValue("--gpus and --context", "one alone", "both: a batch needs both")
    show(model_rows(models or [], q, operation), output, columns=COLUMNS)


class _Asks(NamedTuple):
    """What a search needs, all of it given."""

    models: list[str]
    gpus: int
    context: int
    sensitivity: bool


class _Pair(NamedTuple):
    """How the dense twin is made, and where both are put."""

    quality: float
    dtype: str
    cluster: "Cluster"
    change: "SystemChange"


def _asks(
    models: list[str] | None,
    gpus: int | None,
    context: int | None,
    *,
    sensitivity: bool,
    attribution: bool,
) -> _Asks | None:
    """What is searched for, if anything; refused where something is missing."""
    if not sensitivity and not attribution:
        return None
    if sensitivity and attribution:
        raise BadValue("--sensitivity and --attribution", "both", "one of them")
    if gpus is None or context is None or not models:
        allowed = "--model, --gpus and --context beside it"
        raise BadValue("--sensitivity, --attribution", "alone", allowed)
    return _Asks(models, gpus, context, sensitivity)


def _searched(asks: _Asks, pair: _Pair, figure: Path | None, output: Format) -> None:
    """Both at their best partitions: on several systems compared, or on one taken apart."""
    from moeserve.qs_twin import attribution_rows, sensitivity_rows

    if figure and not asks.sensitivity:
        raise BadValue("--save", str(figure), "--sensitivity beside it")
    if figure:
        need_extra("--save")
    found = sensitivity_rows if asks.sensitivity else attribution_rows
    rows = list(found(asks.models, *pair))
    show(rows, output, columns=SENSITIVITY if asks.sensitivity else ATTRIBUTION)
    if figure:
        from analysis.plots.save import save
        from moeserve.qs_figure import sensitivity_figure

        note(str(save(sensitivity_figure(rows), figure)))
    note(
        f"estimated with {pair.cluster.pricing.name}, {pair.dtype} weights, as many sequences as "
        "fit: compared with no measurement"
    )
    if not any(row.get("speedup") or row.get("feasible") for row in rows):
        raise typer.Exit(NOTHING_FEASIBLE)
