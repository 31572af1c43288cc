"""The flags of `moeserve diffusion`, and how their lists are read."""

import re
from pathlib import Path
from typing import Annotated

import typer

from catalog.errors import BadValue
from moeserve.cli.results_flags import result_dir_option

Model = Annotated[
    list[str] | None,
    typer.Option("--model", "-m", help="Name, id or path; repeatable, or a list: a,b."),
]
Steps = Annotated[str | None, typer.Option("--steps", help="Such as 32,64,128.")]
Length = Annotated[
    str | None, typer.Option("--generation-length", help="Tokens: such as 64,128,256.")
]
Experts = Annotated[str, typer.Option("--experts", help="Of an MoE model: loop, batched, grouped.")]
KvCache = Annotated[
    str, typer.Option("--kv-cache", help="none, prefix, block; compared with none.")
]
CommitAbove = Annotated[
    str | None,
    typer.Option("--commit-above", help="Also commit tokens at least so probable, as 0.9."),
]
BlockLength = Annotated[
    int, typer.Option("--block-length", help="Tokens that are denoised together.")
]
PromptLength = Annotated[
    int, typer.Option("--prompt-length", help="Random tokens before the answer.")
]
NumRuns = Annotated[int, typer.Option("--num-runs", help="Rounds; each measures everything once.")]
Seed = Annotated[int, typer.Option("--seed", help="Of prompts and order.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Dtype = Annotated[
    str, typer.Option("--dtype", help="Of the weights: auto, float32, bfloat16, float16.")
]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run the publisher's code; needs --revision.")
]
Revision = Annotated[
    str | None, typer.Option("--revision", help="The commit of the checkpoint, 40 hex digits.")
]
ResultDir = Annotated[Path | None, result_dir_option("diffusion-HASH")]


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
