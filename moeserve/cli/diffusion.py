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
from moeserve.cli.results_flags import FreshOption
from moeserve.cli.show import Format, FormatOption, note, show

if TYPE_CHECKING:
    from diffusion_study.characterise import StudyRequest

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
    model: flags.ModelOption = None,
    steps: flags.StepsOption = None,
    generation_length: flags.GenerationLengthOption = None,
    experts: flags.ExpertsOption = "loop,batched,grouped",
    kv_cache: flags.KvCacheOption = "none",
    commit_above: flags.CommitAboveOption = None,
    block_length: flags.BlockLengthOption = 32,
    prompt_length: flags.PromptLengthOption = 32,
    num_runs: flags.NumRunsOption = 2,
    seed: flags.SeedOption = 0,
    device: flags.DeviceOption = "auto",
    dtype: flags.DtypeOption = "auto",
    trust_remote_code: flags.TrustRemoteCodeOption = False,
    revision: flags.RevisionOption = None,
    result_dir: flags.ResultDirOption = None,
    fresh: FreshOption = False,
    output: FormatOption = Format.table,
) -> None:
    from diffusion_study.characterise import StudyRequest, experts_of, kv_caches_of
    from diffusion_study.grid import DiffusionGrid, points

    grid = DiffusionGrid(
        points=points(numbers("--steps", steps), numbers("--generation-length", generation_length)),
        experts=experts_of(words(experts)),
        kv_caches=kv_caches_of(words(kv_cache)),
        commit_above=(None, *probabilities("--commit-above", commit_above)),
        block_length=block_length,
        prompt_length=prompt_length,
        repeats=num_runs,
    )
    request = StudyRequest(
        models=model_names(model or DEFAULT_MODELS),
        grid=grid,
        seed=seed,
        device=device,
        dtype=dtype,
        remote_code=trust_remote_code,
        revision=revision,
    )
    raise typer.Exit(_characterise(request, result_dir, output, fresh=fresh))


def _characterise(
    request: "StudyRequest", result_dir: Path | None, output: Format, *, fresh: bool
) -> int:
    """Measure what is missing and show what there is; return the exit code."""
    from diffusion_study.characterise import characterise, findings, prepare, rows_of
    from diffusion_study.store import DiffusionStore
    from orchestrator.results.store import fresh_directory

    planned = prepare(request)
    store = DiffusionStore(result_dir or planned.study.default_directory, planned.study)
    if fresh:
        fresh_directory(store.root)
    stopped = False
    try:
        with _interruptible():
            characterise(planned, store, note)
    except KeyboardInterrupt:
        stopped = True
    rows, finished = rows_of(planned, store)
    show(rows, output, columns=COLUMNS)
    for sentence in [] if stopped else findings(rows):
        note(sentence)
    note(f"{finished} of {planned.runs} runs; results in {store.root}")
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
