"""`moeserve diffusion`: characterise diffusion language models, dense and MoE."""

import typer

from moeserve.cli import diffusion_flags as flags
from moeserve.cli.diffusion_flags import numbers, probabilities, words
from moeserve.cli.inputs import model_names
from moeserve.cli.show import Format, FormatOption, note, show

HELP = """Measure diffusion language models: steps, generation length, and how experts are computed.

Without --steps and --generation-length it is the published table's six configurations a model:
32, 64 and 128 steps for 128 tokens, and 64, 128 and 256 tokens in 64 steps.

Examples:

  moeserve diffusion

  moeserve diffusion --model small-llada,small-llada-moe --experts loop,grouped

  moeserve diffusion --model LLaDA-8B --model LLaDA-MoE-7B --device cuda

  moeserve diffusion --steps 32,64 --generation-length 64 --kv-cache none,prefix,block
"""
COLUMNS = {
    "model": "model", "kind": "kind", "experts_implementation": "experts", "sweep": "sweep",
    "steps": "steps", "generation_length": "length", "kv_cache": "KV cache",
    "commit_above": "commit above", "mean_latency_s": "latency s", "std_latency_s": "std s",
    "tokens_per_s": "tok/s", "forward_passes": "passes", "median_pass_ms": "ms/pass",
    "operations_per_pass": "operations/pass", "agreement": "agreement",
    "dense_over_moe": "dense/MoE",
}  # fmt: skip
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
    output: FormatOption = Format.table,
) -> None:
    from moeserve.diffusion import (
        Asked,
        characterise,
        experts_of,
        findings,
        kv_caches_of,
    )
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
    rows = characterise(asked, note)
    show(rows, output, columns=COLUMNS)
    for sentence in findings(rows):
        note(sentence)
