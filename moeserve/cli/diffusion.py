"""`moeserve diffusion`: characterise diffusion language models, dense and MoE."""

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from moeserve.cli import diffusion_flags as flags
from moeserve.cli.diffusion_flags import numbers, probabilities, words
from moeserve.cli.inputs import model_names
from moeserve.cli.results_flags import Fresh
from moeserve.cli.show import Format, FormatOption, note, show

if TYPE_CHECKING:
    from moeserve.diffusion import Asked

HELP = """Measure diffusion language models: steps, generation length, and how experts are computed.

Without --steps and --generation-length it is the published table's six configurations a model:
32, 64 and 128 steps for 128 tokens, and 64, 128 and 256 tokens in 64 steps.

Examples:

  moeserve diffusion

  moeserve diffusion --model small-llada,small-llada-moe --experts loop,grouped

  moeserve diffusion --model LLaDA-8B --model LLaDA-MoE-7B --device cuda

  moeserve diffusion --steps 32,64 --generation-length 64 --kv-cache none,prefix,block

The same command again does only what is missing.
"""
COLUMNS = {
    "model": "model", "kind": "kind", "experts_implementation": "experts", "sweep": "sweep",
    "steps": "steps", "generation_length": "length", "kv_cache": "KV cache",
    "commit_above": "commit above", "num_runs": "runs", "mean_latency_s": "latency s",
    "std_latency_s": "std s", "tokens_per_s": "tok/s", "forward_passes": "passes",
    "median_pass_ms": "ms/pass", "operations_per_pass": "operations/pass",
    "agreement": "agreement", "dense_over_moe": "dense/MoE",
}  # fmt: skip
ENDINGS = (signal.SIGTERM, signal.SIGHUP)
DEFAULT_MODELS = ("tiny-llada", "tiny-llada-moe")


def add_to(app: typer.Typer) -> None:
    app.command("diffusion", help=HELP)(diffusion)


def diffusion(
    model: flags.Model = None,
    steps: flags.Steps = None,
    generation_length: flags.Length = None,
    experts: flags.Experts = "loop,batched,grouped",
    kv_cache: flags.KvCache = "none",
    commit_above: flags.CommitAbove = None,
    block_length: flags.BlockLength = 32,
    prompt_length: flags.PromptLength = 32,
    num_runs: flags.NumRuns = 2,
    seed: flags.Seed = 0,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "auto",
    trust_remote_code: flags.TrustRemoteCode = False,
    revision: flags.Revision = None,
    result_dir: flags.ResultDir = None,
    fresh: Fresh = False,
    output: FormatOption = Format.table,
) -> None:
    from moeserve.diffusion import Asked, experts_of, kv_caches_of
    from orchestrator.hfserver.diffusion.grid import Grid, points

    grid = Grid(
        points=points(numbers("--steps", steps), numbers("--generation-length", generation_length)),
        experts=experts_of(words(experts)),
        kv_caches=kv_caches_of(words(kv_cache)),
        commit_above=(None, *probabilities("--commit-above", commit_above)),
        block_length=block_length,
        prompt_length=prompt_length,
        repeats=num_runs,
    )
    asked = Asked(
        models=model_names(model or DEFAULT_MODELS),
        grid=grid,
        seed=seed,
        device=device,
        dtype=dtype,
        remote_code=trust_remote_code,
        revision=revision,
    )
    raise typer.Exit(_characterise(asked, result_dir, output, fresh=fresh))


def _characterise(asked: "Asked", result_dir: Path | None, output: Format, *, fresh: bool) -> int:
    """Measure what is missing and show what there is; return the exit code."""
    from moeserve.diffusion import characterise, findings, prepare, rows_of
    from orchestrator.hfserver.diffusion.kept import Kept
    from orchestrator.store import fresh_directory

    planned = prepare(asked)
    kept = Kept(result_dir or planned.study.default_directory, planned.study)
    if fresh:
        fresh_directory(kept.root)
    stopped = False
    try:
        with _interruptible():
            characterise(planned, kept, note)
    except KeyboardInterrupt:
        stopped = True
    rows, finished = rows_of(planned, kept)
    show(rows, output, columns=COLUMNS)
    for sentence in [] if stopped else findings(rows):
        note(sentence)
    note(f"{finished} of {planned.runs} runs; results in {kept.root}")
    if stopped:
        note("interrupted: the same command goes on where this one stopped")
    return 130 if stopped else 0


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the measuring as Ctrl-C does; finished runs are on disk."""
    given = [each for each in ENDINGS if signal.getsignal(each) is signal.SIG_DFL]  # not nohup's
    for number in given:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in given:
            signal.signal(number, signal.SIG_DFL)
