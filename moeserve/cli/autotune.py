"""`moeserve autotune`: every way to divide GPUs, ranked, and why."""

from dataclasses import asdict
from typing import Annotated, Literal

import typer

from moeserve.cli.estimate import constants_of
from moeserve.cli.show import Format, FormatOption, Row, note, show

AUTOTUNE_HELP = """Rank every way to divide GPUs over tp, pp, ep, dp and cache parallelism.

Example: moeserve autotune --model DeepSeek-V3 --hardware H200 --gpus 64 --context 32768
"""
COLUMNS = (
    "tp", "pp", "ep", "dp", "kvp", "cp", "feasible", "b_max", "batch", "tokens_per_s_per_gpu",
    "tokens_per_s", "latency_s", "pareto", "why",
)  # fmt: skip
TABLE_ROWS = 20
NOTHING_FEASIBLE = 4


def add_to(app: typer.Typer) -> None:
    app.command("autotune", help=AUTOTUNE_HELP)(autotune)


def autotune(
    model: Annotated[str, typer.Option("--model", "-m", help="Name, id or path.")],
    gpus: Annotated[int, typer.Option("--gpus", help="GPUs to divide, 1 to 1024.")],
    context: Annotated[int, typer.Option("--context", help="Tokens each sequence holds.")] = 4096,
    hardware: Annotated[
        str, typer.Option("--hardware", help="GPU, as in moeserve hardware.")
    ] = "H100",
    batch: Annotated[
        int | None, typer.Option("--batch", help="Sequences in all; default as many as fit.")
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
        typer.Option("--island", min=1, help="GPUs one fast fabric joins; default the node's."),
    ] = None,
    usable_fraction: Annotated[
        float, typer.Option("--usable-fraction", help="Share of GPU memory the server may take.")
    ] = 0.9,
    calibration: Annotated[
        str | None, typer.Option("--calibration", help="Default roofline; or a fitted FILE.json.")
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
    import msgspec

    from catalog.from_hf import load_model
    from catalog.hardware_table import gpu as named
    from perfmodel.autotune import Goal, search
    from perfmodel.constants import ROOFLINE
    from perfmodel.decode import Pricing
    from perfmodel.memory import Conventions
    from perfmodel.twin import dense_twin

    constants = constants_of(calibration) or ROOFLINE
    constants = msgspec.structs.replace(constants, expert_rereads=expert_rereads)
    spec, gpu = load_model(model), named(hardware)
    found = search(
        spec if dense_quality is None else dense_twin(spec, dense_quality),
        msgspec.structs.replace(gpu, per_node=island or gpu.per_node),
        gpus,
        goal=Goal(context, batch, None if max_latency_ms is None else max_latency_ms / 1e3),
        conventions=Conventions(usable_fraction=usable_fraction),
        pricing=Pricing(constants=constants, dispatch=dispatch),
    )
    kept = [row for row in found if row.pareto or not pareto]
    limit = top or (TABLE_ROWS if output is Format.table else len(kept))
    name = {"provenance": "simulated", "hardware": hardware, "model": model}
    rows: list[Row] = [{**name, **asdict(row)} for row in kept[:limit]]
    show(rows, output, columns=COLUMNS)
    fit = sum(row.feasible for row in found)
    note(f"{fit} of {len(found)} partitions fit, {len(rows)} shown: estimated, not measured")
    if not fit:
        raise typer.Exit(NOTHING_FEASIBLE)
