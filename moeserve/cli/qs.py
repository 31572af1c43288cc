"""`moeserve qs`: would a dense model of the same quality read fewer weight bytes?"""

from typing import Annotated

import typer

from catalog.errors import BadValue
from moeserve.cli.show import Format, FormatOption, note, show

QS_HELP = """Does a dense model of the same quality read fewer weight bytes? (It does if q s < 1.)

Examples:

  moeserve qs --model DeepSeek-V3 --quality 5 --gpus 64 --context 131072

  moeserve qs --experts 128 --top-k 8 --quality 5
"""
COLUMNS = (
    "model", "experts", "top_k", "s", "q", "qs", "dense_advantaged", "crossover_batch",
    "dense_params", "gpus", "context", "b_moe", "b_dense", "r_moe", "r_dense", "routing_factor",
    "capacity_factor", "reuse_gap", "feasible",
)  # fmt: skip


def add_to(app: typer.Typer) -> None:
    app.command("qs", help=QS_HELP)(qs)


def qs(
    models: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Name, id or path; default some well-known MoE models."),
    ] = None,
    quality: Annotated[
        float, typer.Option("--quality", "-q", help="q: how much larger an equal dense model is.")
    ] = 5.0,
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
    output: FormatOption = Format.table,
) -> None:
    from moeserve.qs import Operation, check_quality, count_rows, model_rows
    from perfmodel.capacity import ClusterSplit
    from strategies.own_gpus import find_gpu

    q = check_quality(quality)
    if experts is not None or top_k is not None:
        show(count_rows(experts, top_k, q, alone=not models and gpus is None), output)
        return
    operation = None
    if gpus is not None and context is not None:
        split = ClusterSplit(
            gpus=gpus,
            memory_bytes=find_gpu(hardware).memory_bytes,
            usable_fraction=usable_fraction,
            tp=min(8, gpus) if tp is None else tp,
            ep=ep,
            weight_dtype=weight_dtype,
            kv_dtype=kv_dtype,
        )
        operation = Operation(split, context)
        note(split.text)
    elif gpus is not None or context is not None:
        raise BadValue("--gpus and --context", "one alone", "both: a batch needs both")
    show(model_rows(models or [], q, operation), output, columns=COLUMNS)
