"""`moeserve diffusion`: characterise diffusion language models, dense and MoE."""

import re
from typing import Annotated

import typer

from catalog.errors import BadValue
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
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Name, id or path; repeatable or comma-separated."),
    ] = None,
    steps: Annotated[str | None, typer.Option("--steps", help="Such as 32,64,128.")] = None,
    generation_length: Annotated[
        str | None, typer.Option("--generation-length", help="Tokens: such as 64,128,256.")
    ] = None,
    experts: Annotated[
        str, typer.Option("--experts", help="Of an MoE model: loop, batched, grouped.")
    ] = "loop,batched,grouped",
    kv_cache: Annotated[
        str, typer.Option("--kv-cache", help="none, prefix, block; compared with none.")
    ] = "none",
    commit_above: Annotated[
        str | None,
        typer.Option("--commit-above", help="Also commit tokens at least so probable, as 0.9."),
    ] = None,
    block_length: Annotated[
        int, typer.Option("--block-length", help="Tokens that are denoised together.")
    ] = 32,
    prompt_length: Annotated[
        int, typer.Option("--prompt-length", help="Random tokens before the answer.")
    ] = 32,
    num_runs: Annotated[
        int, typer.Option("--num-runs", help="Rounds; each measures everything once.")
    ] = 2,
    seed: Annotated[int, typer.Option("--seed", help="Of prompts and order.")] = 0,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1.")] = "auto",
    dtype: Annotated[str, typer.Option("--dtype", help="Of the weights.")] = "auto",
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run the publisher's code; needs --revision")
    ] = False,
    revision: Annotated[
        str | None, typer.Option("--revision", help="The commit of the checkpoint, 40 hex digits.")
    ] = None,
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


def words(text: str) -> list[str]:
    return [word for word in (part.strip() for part in text.split(",")) if word]


def numbers(flag: str, text: str | None) -> tuple[int, ...]:
    """Read a comma list of counts; nothing given is nothing."""
    if text is None:
        return ()
    found = words(text)
    if not found or not all(re.fullmatch(r"[1-9]\d{0,6}", word, re.ASCII) for word in found):
        raise BadValue(flag, text, "whole numbers of at least 1, such as 32,64,128")
    return tuple(dict.fromkeys(map(int, found)))


def probabilities(flag: str, text: str | None) -> tuple[float, ...]:
    if text is None:
        return ()
    found = words(text)
    if not found or not all(re.fullmatch(r"[01]?\.?\d{1,9}", word, re.ASCII) for word in found):
        raise BadValue(flag, text, "probabilities above 0, at most 1, such as 0.9")
    return tuple(dict.fromkeys(map(float, found)))
