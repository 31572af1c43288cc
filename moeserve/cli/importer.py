"""`moeserve import`: results of other load generators into the run table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moeserve.cli.inputs import clean, say
from moeserve.cli.show import Format, FormatOption, counted, show

if TYPE_CHECKING:
    from analysis.importers.files import Imported

HELP = """Import results of other tools: vllm bench serve and sweep, GuideLLM, AIPerf, genai-perf,
SGLang, inference-perf, InferenceX, LLMPerf, or a printed «Serving Benchmark Result».

Units and definitions are converted; what a tool did not measure stays empty, and what else a file
says (metadata, tags, a server's arguments) becomes columns. The rows are marked as imported and
are never pooled with measured ones unasked. Importing a file again with other labels replaces them.

Example: moeserve import results/*.json -o imported --strategy tp --model OLMoE-1B-7B
"""
SHOWN = (
    "run_id", "source", "tool", "model", "strategy", "workload", "max_concurrency", "request_rate",
    "replicate", "completed", "output_throughput", "mean_ttft_ms", "mean_tpot_ms", "mean_itl_ms",
    "mean_e2el_ms", "verdict", "verdict_reasons",
)  # fmt: skip
MOST_SAID = 8
UNNAMED = {"model": "--model", "strategy": "--strategy", "workload": "--workload"}


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
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            help="NAME=VALUE, FILE:NAME=VALUE, or a CSV with a column file; repeatable.",
        ),
    ] = None,
    from_name: Annotated[
        bool, typer.Option("--from-name", help="Take what names of files and folders tell.")
    ] = False,
    output: FormatOption = Format.table,
) -> None:
    from analysis.importers import Labels, import_files, parse_labels
    from orchestrator.table import rows_of

    labels = Labels(model, strategy, workload, gpu_type, each=tuple(parse_labels(label or ())))
    found = import_files(files, output_dir, labels, from_name=from_name)
    show(clean(rows_of(found.records)), output, columns=SHOWN)
    say(_notes(found))
    say([_outcome(found, output_dir)])


def _notes(found: "Imported") -> list[str]:
    notes = [f"not imported: {s.path}: {s.reason}" for s in found.skipped[:MOST_SAID]]
    if len(found.skipped) > MOST_SAID:
        notes.append(f"not imported: {len(found.skipped) - MOST_SAID} more files")
    for name, flag in UNNAMED.items():
        count = sum(not getattr(record, name) for record in found.records)
        if count:
            what = "layout" if name == "strategy" else name
            notes.append(
                f"{counted(count, 'run')} without a {what}: name it with {flag} or --label"
            )
    for place, told in list(found.proposed.items())[:MOST_SAID]:
        words = " ".join(f"{name}={value}" for name, value in told.items())
        notes.append(f"the name of {place} tells {words}: take it with --from-name")
    if len(found.proposed) > MOST_SAID:
        notes.append(f"the names of {len(found.proposed) - MOST_SAID} more files tell something")
    notes += [f"replaced: {text}" for text in found.relabelled[:MOST_SAID]]
    return notes


def _outcome(found: "Imported", into: Path) -> str:
    new = len(found.records) - found.known - len(found.relabelled)
    parts = [f"{counted(new, 'run')} imported into {into}"]
    if found.relabelled:
        parts.append(f"{len(found.relabelled)} were there and have new labels or figures")
    if found.known:
        parts.append(f"{found.known} were there already, unchanged")
    return ", ".join(parts)
