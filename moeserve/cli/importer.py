"""`moeserve import`: results of other load generators into the run table."""

from pathlib import Path
from typing import Annotated

import typer

from moeserve.cli.inputs import clean, say
from moeserve.cli.show import Format, FormatOption, show

HELP = """Import results of other tools: vllm bench serve and sweep, GuideLLM, AIPerf, SGLang,
inference-perf, InferenceX.

Units and definitions are converted; what a tool did not measure stays empty. The rows are marked
as imported and are never pooled with measured ones unasked.

Example: moeserve import results/*.json -o imported --strategy tp --model OLMoE-1B-7B
"""
SHOWN = (
    "run_id", "tool", "model", "strategy", "workload", "max_concurrency", "request_rate",
    "replicate", "completed", "output_throughput", "mean_ttft_ms", "mean_tpot_ms", "mean_itl_ms",
    "mean_e2el_ms", "verdict", "verdict_reasons",
)  # fmt: skip


def add_to(app: typer.Typer) -> None:
    app.command("import", help=HELP)(import_results)


def import_results(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Result files, or folders of them.")
    ],
    output_dir: Annotated[
        Path, typer.Option("-o", "--result-dir", help="Results directory to write or add to.")
    ],
    model: Annotated[str, typer.Option("--model", "-m", help="Model, for files' own name.")] = "",
    strategy: Annotated[
        str, typer.Option("--strategy", "-s", help="Layout the server ran: tp, ep, tp4, dp8+ep.")
    ] = "",
    workload: Annotated[str, typer.Option("--workload", "-w", help="Name of the workload.")] = "",
    gpu_type: Annotated[str, typer.Option("--gpu-type", help="GPU the server ran on.")] = "",
    output: FormatOption = Format.table,
) -> None:
    from analysis.importers import Labels, import_files
    from orchestrator.table import row_of

    labels = Labels(model=model, strategy=strategy, workload=workload, gpu_type=gpu_type)
    found = import_files(files, output_dir, labels)
    show(clean(row_of(record) for record in found.records), output, columns=SHOWN)
    unnamed = sum(not record.strategy for record in found.records)
    if unnamed:
        say([f"{unnamed} runs do not say their layout: name it with --strategy"])
    if found.skipped:
        say(
            [f"{len(found.skipped)} files are no results: {', '.join(map(str, found.skipped[:3]))}"]
        )
    say([f"{len(found.records)} runs imported into {output_dir}"])
