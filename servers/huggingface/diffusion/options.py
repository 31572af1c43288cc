"""How a diffusion model decodes, and how an answer is cut into blocks and steps."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn, cast, get_args

from catalog.errors import BadValue, UnknownName

ExpertsImplementation = Literal["loop", "batched", "grouped"]
KvCache = Literal["none", "prefix", "block"]

EXPERTS: tuple[str, ...] = get_args(ExpertsImplementation)
KV_CACHES: tuple[str, ...] = get_args(KvCache)
DTYPES = ("auto", "float32", "bfloat16", "float16")
DEFAULT_STEPS = 64
DEFAULT_BLOCK = 32
NO_EXPERTS = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusionOptions:
    """Semi-autoregressive low-confidence remasking, greedy."""

    steps: int = DEFAULT_STEPS
    """Forward passes an answer takes; an answer shorter than this takes one a token."""
    block_length: int = DEFAULT_BLOCK
    """Tokens that are denoised together before the next ones are."""
    experts: ExpertsImplementation = "grouped"
    kv_cache: KvCache = "none"
    commit_above: float | None = None
    """Commit every token at least this probable at once; None keeps to the schedule."""

    def __post_init__(self) -> None:
        for name in ("steps", "block_length"):
            if getattr(self, name) < 1:
                raise BadValue(f"--{name.replace('_', '-')}", getattr(self, name), "1 or more")
        if self.experts not in EXPERTS:
            raise UnknownName("experts implementation", self.experts, EXPERTS)
        if self.kv_cache not in KV_CACHES:
            raise UnknownName("KV cache", self.kv_cache, KV_CACHES)
        if self.commit_above is not None and not 0 < self.commit_above <= 1:
            raise BadValue("--commit-above", self.commit_above, "a probability above 0, at most 1")

    def check_even(self, length: int) -> None:
        """Refuse an answer whose steps do not share out evenly over whole blocks.

        The published sampler asserts the same; a measurement must not depend on rounding.
        """
        block = min(self.block_length, length)
        blocks = length // block
        if length % block:
            raise BadValue("generation length", length, f"a multiple of the block length {block}")
        if self.steps > length:
            raise BadValue("--steps", self.steps, f"at most the generation length {length}")
        if self.steps % blocks:
            allowed = f"a multiple of {blocks}, the blocks of {block} in {length} tokens"
            raise BadValue("--steps", self.steps, f"{allowed}; or another --block-length")

    def blocks(self, length: int) -> Iterator[tuple[range, int]]:
        """Yield each block's positions in the answer and its steps: the same share of both."""
        steps, done = min(self.steps, length), 0
        for start in range(0, length, self.block_length):
            block = range(start, min(start + self.block_length, length))
            until = -(-steps * block.stop // length)
            yield block, max(1, until - done)
            done = max(until, done)


def commits(masked: int, steps: int) -> list[int]:
    """Say how many tokens each step makes final: as even as can be, the first ones take the rest.

    LLaDA, algorithm 5 with the linear schedule of eq. 8.
    """
    least, rest = divmod(masked, steps)
    return [least + (step < rest) for step in range(steps)]


class OptionParser(argparse.ArgumentParser):
    """Raises what it does not understand instead of leaving the program."""

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            raise UnknownName("--server-arg of the diffusion engine", unknown.split("=")[0], FLAGS)
        raise BadValue("--server-arg", message, ", ".join(FLAGS))


FLAGS = (
    "--steps",
    "--block-length",
    "--experts",
    "--kv-cache",
    "--commit-above",
    "--max-batch",
    "--device",
    "--dtype",
    "--trust-remote-code",
    "--revision",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=DEFAULT_STEPS)
    parser.add_argument("--block-length", type=int, default=DEFAULT_BLOCK)
    parser.add_argument("--experts", default="grouped", help=" | ".join(EXPERTS))
    parser.add_argument("--kv-cache", default="none", help=" | ".join(KV_CACHES))
    parser.add_argument("--commit-above", type=float)
    parser.add_argument("--max-batch", type=int, default=1)
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1; auto takes a GPU")
    parser.add_argument("--dtype", choices=DTYPES, default="auto", help="of the weights")
    parser.add_argument("--trust-remote-code", action="store_true")
    parser.add_argument("--revision", help="the 40 hex digits of a commit of the checkpoint")


def options_of(args: argparse.Namespace) -> DiffusionOptions:
    return DiffusionOptions(
        steps=args.steps,
        block_length=args.block_length,
        experts=cast(ExpertsImplementation, args.experts),
        kv_cache=cast(KvCache, args.kv_cache),
        commit_above=args.commit_above,
    )


def parse_options(words: Sequence[str]) -> DiffusionOptions:
    """Read the decoder's own arguments as they stand on a server's command line."""
    parser = OptionParser(prog="diffusion", allow_abbrev=False, add_help=False)
    add_arguments(parser)
    parser.add_argument("--host")  # the server's own, which `moeserve serve` passes on
    return options_of(parser.parse_args(list(words)))
