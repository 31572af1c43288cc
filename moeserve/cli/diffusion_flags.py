"""The flags of `moeserve diffusion`, and how their lists are read."""

import re
from pathlib import Path
from typing import Annotated

import typer

from catalog.errors import BadValue
from moeserve.cli.results_flags import result_dir_option

ModelOption = Annotated[
    list[str] | None,
    typer.Option("--model", "-m", help="Name, id or path; repeatable, or a list: a,b."),
]
StepsOption = Annotated[str | None, typer.Option("--steps", help="Such as 32,64,128.")]
GenerationLengthOption = Annotated[
    str | None, typer.Option("--generation-length", help="Tokens: such as 64,128,256.")
]
ExpertsOption = Annotated[
    str, typer.Option("--experts", help="Of an MoE model: loop, batched, grouped.")
]
KvCacheOption = Annotated[
    str, typer.Option("--kv-cache", help="none, prefix, block; compared with none.")
]
CommitAboveOption = Annotated[
    str | None,
    typer.Option("--commit-above", help="Also commit tokens at least so probable, as 0.9."),
]
BlockLengthOption = Annotated[
    int, typer.Option("--block-length", help="Tokens that are denoised together.")
]
PromptLengthOption = Annotated[
    int, typer.Option("--prompt-length", help="Random tokens before the answer.")
]
NumRunsOption = Annotated[
    int, typer.Option("--num-runs", help="Rounds; each measures everything once.")
]
SeedOption = Annotated[int, typer.Option("--seed", help="Of prompts and order.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
DtypeOption = Annotated[
    str, typer.Option("--dtype", help="Of the weights: auto, float32, bfloat16, float16.")
]
TrustRemoteCodeOption = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run the publisher's code; needs --revision.")
]
RevisionOption = Annotated[
    str | None, typer.Option("--revision", help="The commit of the checkpoint, 40 hex digits.")
]
ResultDirOption = Annotated[Path | None, result_dir_option("diffusion-HASH")]


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
