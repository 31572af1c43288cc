"""`moeserve microbench experts`: latency of the expert MLP on this device."""

from typing import TYPE_CHECKING

import typer

from moeserve.cli import microbench_flags as flags
from moeserve.cli.show import Format, FormatOption, note, show

if TYPE_CHECKING:
    from pathlib import Path

    from microbench.study import SweepOptions

EXPERTS_HELP = """Time one decode step of a mixture's experts on this device; say what bounds it.

Every combination of the sizes is measured in every backend, after its output was compared with a
plain loop's. Weights come from memory: each step reads others. The device's own ceilings are
measured in the same run. Sizes not given are the device's: on a GPU the published study's, on a
CPU small ones that take one to two minutes.

Examples:

  moeserve microbench experts

  moeserve microbench experts --batch 8,128 --width 512,6144 --active 32,64,128 -o out

  moeserve microbench experts --backend vllm --dtype bf16 --routing zipf --format json
"""
COLUMNS = {
    "backend": "backend", "device": "device", "dtype": "dtype", "hidden": "hidden",
    "experts": "experts", "top_k": "top-k", "routing": "routing", "batch": "batch",
    "intermediate": "width", "active_experts": "active", "median_ms": "median ms",
    "p99_ms": "p99 ms", "process_spread": "processes differ", "achieved_gb_per_s": "GB/s",
    "bandwidth_share": "share", "achieved_gflop_per_s": "GFLOP/s", "compute_share": "share",
    "bound": "bound by", "why": "failed because",
}  # fmt: skip
SOME_FAILED = 5

app = typer.Typer(no_args_is_help=True, help="Time single operations on this device.")


@app.callback()
def group() -> None:
    """Keep `experts` a command of its own while it is the only one."""


def add_to(parent: typer.Typer) -> None:
    app.command("experts", help=EXPERTS_HELP)(experts)
    parent.add_typer(app, name="microbench")


def experts(
    batch: flags.BatchOption = None,
    intermediate: flags.IntermediateOption = None,
    expert_count: flags.ExpertsOption = None,
    active_experts: flags.ActiveExpertsOption = None,
    top_k: flags.TopKOption = None,
    hidden: flags.HiddenOption = None,
    dtype: flags.DtypeOption = None,
    backend: flags.BackendOption = None,
    routing: flags.RoutingKindOption = "uniform",
    zipf: flags.ZipfOption = None,
    seed: flags.SeedOption = 0,
    device: flags.DeviceOption = "auto",
    threads: flags.ThreadsOption = None,
    processes: flags.ProcessesOption = 2,
    samples: flags.SamplesOption = 100,
    quick: flags.QuickOption = False,
    target: flags.TargetOption = None,
    output: FormatOption = Format.table,
) -> None:
    from microbench.grid import SweepGrid
    from microbench.study import SweepOptions

    grid = SweepGrid(
        batch=flags.levels("--batch", batch),
        intermediate=flags.levels("--intermediate", intermediate),
        experts=flags.levels("--experts", expert_count),
        active_experts=flags.levels("--active-experts", active_experts),
        top_k=flags.levels("--top-k", top_k),
        hidden=flags.levels("--hidden", hidden),
        dtype=flags.names("--dtype", dtype),
    )
    options = SweepOptions(
        device=device,
        threads=threads,
        backends=flags.names("--backend", backend),
        grid=grid,
        quick=quick,
        routing=flags.pattern(routing, zipf, seed),
        samples=samples,
        processes=processes,
    )
    _measure(options, target, output)


def _measure(options: "SweepOptions", target: "Path | None", output: Format) -> None:
    from microbench.save import check_target, save
    from microbench.study import plan, run
    from moeserve.cli.microbench_show import announce, progress, row_of, tell

    planned = plan(options)
    if target is not None:
        check_target(target)
    announce(planned)
    with progress(planned) as listen:
        result = run(planned, listen)
    show([row_of(each) for each in result.rows], output, columns=COLUMNS)
    tell(result)
    if target is not None:
        note("written: " + ", ".join(str(path) for path in save(result, target)))
    if any(row.verdict != "ok" for row in result.rows):
        raise typer.Exit(SOME_FAILED)
