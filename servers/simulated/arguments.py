"""vLLM's arguments that the model prices, read in one way for virtual time and for the server.

Anything else is refused: a simulated server that takes what it does not price would be found equal
to one without it. Conventions are vLLM's: underscores stand for dashes, the last one given wins.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import msgspec

from catalog.dtypes import FLOATS, with_dtype
from catalog.errors import BadValue, closest
from catalog.models import Model
from perfmodel.serving import DEFAULT_SETTINGS, ServerSettings
from strategies.vllm_numbers import count, fraction, tokens, tokens_or_auto

KV_DTYPES = {
    "auto": None,
    "float16": "float16",
    "bfloat16": "bfloat16",
    "fp8": "fp8",
    "fp8_e4m3": "fp8",
    "fp8_e5m2": "fp8",
}
"""The type in which each value of `--kv-cache-dtype` stores the cache; None is the model's own."""
DTYPES = ("auto", *FLOATS)
T = TypeVar("T")
WHAT = "argument of the simulated server (--server-arg)"
PREFIX_CACHING = "--enable-prefix-caching"
"""And --no-enable-prefix-caching: without either every prompt is computed whole."""
ASYNC_SCHEDULING = "--async-scheduling"
"""And --no-async-scheduling: without either what the engine's version does."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument that is priced: its values in words, and how they are read.

    Reading raises ValueError for a value that is not allowed.
    """

    allowed: str
    read: Callable[[str], Any]


def _one_of(*names: str) -> Argument:
    return Argument(", ".join(names), lambda text: names[names.index(text)])


PRICED: dict[str, Argument] = {
    "--max-num-seqs": Argument("a whole number from 1", count),
    "--max-num-batched-tokens": Argument("tokens from 1, such as 8192 or 8K", tokens),
    "--gpu-memory-utilization": Argument("a share over 0, up to 1", fraction),
    "--max-model-len": Argument("tokens from 1, such as 4096 or 4K, or auto", tokens_or_auto),
    "--block-size": Argument("a whole number from 1 to 256", lambda text: count(text, most=256)),
    "--kv-cache-dtype": _one_of(*KV_DTYPES),
    "--dtype": _one_of(*DTYPES),
}
WAYS = {
    "--quantization": "name it as a technique: -t fp8",
    "--hardware": "name it beside the engine: --hardware",
    "--tensor-parallel-size": "name the layout: --strategy tp2",
    "-tp": "name the layout: --strategy tp2",
    "--pipeline-parallel-size": "name the layout: --strategy pp2",
    "--data-parallel-size": "name the layout: --strategy ep",
    "--enable-expert-parallel": "name the layout: --strategy ep",
    "--decode-context-parallel-size": "name the layout: --strategy 'tp8[dcp=2]'",
    "--all2all-backend": "name the layout: --strategy 'dp8+ep[all2all=…]'",
}
"""What to do instead, or why there is nothing to do."""


class ServerArguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What arguments ask of scheduler, memory and types; None leaves it as it is."""

    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    gpu_memory_utilization: float | None = None
    max_model_len: int | None = None
    block_size: int | None = None
    kv_cache_dtype: str | None = None
    dtype: str | None = None
    enable_prefix_caching: bool | None = None
    async_scheduling: bool | None = None

    def __post_init__(self) -> None:
        budget = self.max_num_batched_tokens
        if budget is not None and self.max_num_seqs is not None and self.max_num_seqs > budget:
            allowed = f"at most --max-num-batched-tokens = {budget}"
            raise BadValue("--max-num-seqs", self.max_num_seqs, allowed)

    def setup(self, assumed: ServerSettings = DEFAULT_SETTINGS) -> ServerSettings:
        """Return the server's setup with what was asked in place of what is assumed."""
        conventions: dict[str, Any] = {}
        if self.gpu_memory_utilization is not None:
            conventions["usable_fraction"] = self.gpu_memory_utilization
        if self.kv_cache_dtype is not None:
            conventions["kv_dtype"] = KV_DTYPES[self.kv_cache_dtype]
        asked = {
            "max_num_batched_tokens": self.max_num_batched_tokens,
            "max_num_seqs": self.max_num_seqs,
        }
        limits = {name: value for name, value in asked.items() if value is not None}
        return msgspec.structs.replace(
            assumed,
            **limits,
            block_tokens=_either(self.block_size, assumed.block_tokens),
            prefix_caching=_either(self.enable_prefix_caching, assumed.prefix_caching),
            async_scheduling=_either(self.async_scheduling, assumed.async_scheduling),
            conventions=msgspec.structs.replace(assumed.conventions, **conventions),
        )

    def longest(self, tokens: int) -> int:
        """Return the sequence that memory must hold: the longest allowed, else the longest sent."""
        return self.max_model_len or tokens

    def held(self, model: Model) -> Model:
        """Return the model in the type asked for."""
        return with_dtype(model, self.dtype) or model

    def joined(self, other: "ServerArguments") -> "ServerArguments":
        """Return both together; BadValue for what both set, since neither can be seen to win."""
        mine, others = self.given, other.given
        for name in mine.keys() & others.keys():
            flag = f"--{name.replace('_', '-')}"
            told = f"{mine[name]} and --server-arg={flag}={others[name]}"
            raise BadValue(flag, told, "one of the two")
        return ServerArguments(**mine, **others)

    @property
    def given(self) -> dict[str, Any]:
        every = msgspec.structs.asdict(self)
        return {name: value for name, value in every.items() if value is not None}

    def check_context(self, model: Model) -> None:
        """Refuse sequences that are longer than the model was made for, as vLLM does."""
        if self.max_model_len is not None and 0 < model.max_context < self.max_model_len:
            allowed = f"up to {model.max_context}, the context of {model.name}"
            raise BadValue("--max-model-len", self.max_model_len, allowed)


class Parser(argparse.ArgumentParser):
    """An argument parser with vLLM's conventions, whose errors are BadValue."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog=prog, allow_abbrev=False)
        for flag, argument in PRICED.items():
            self.add_argument(flag, help=argument.allowed.replace("%", "%%"))
        for flag in (PREFIX_CACHING, ASYNC_SCHEDULING):
            self.add_argument(flag, action=argparse.BooleanOptionalAction)

    def error(self, message: str) -> NoReturn:
        raise BadValue(WHAT, message, priced_arguments())

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse the words; raise BadValue, naming it, for the first that is not args."""
        args, left = self.parse_known_args([_dashed(word) for word in words])
        if left:
            raise _unpriced(left[0])
        return args


def server_arguments(words: Sequence[str]) -> ServerArguments:
    """Read a server's arguments, all of which must be priced."""
    return priced(Parser("moeserve").read(words))


def priced(args: argparse.Namespace) -> ServerArguments:
    """Return the priced arguments among those that were parsed."""
    given = {flag: getattr(args, _field(flag)) for flag in PRICED}
    return ServerArguments(
        enable_prefix_caching=args.enable_prefix_caching,
        async_scheduling=args.async_scheduling,
        **{_field(flag): _value(flag, text) for flag, text in given.items() if text is not None},
    )


def priced_arguments() -> str:
    return ", ".join([*PRICED, PREFIX_CACHING, ASYNC_SCHEDULING])


def _either(value: T | None, assumed: T) -> T:
    return assumed if value is None else value


def _field(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def _value(flag: str, text: str) -> Any:
    try:
        return PRICED[flag].read(text)
    except ValueError:
        raise BadValue(flag, text, PRICED[flag].allowed) from None


def _dashed(word: str) -> str:
    flag, equals, value = word.partition("=")
    return flag.replace("_", "-") + equals + value if flag.startswith("--") else word


def _unpriced(word: str) -> BadValue:
    flag = word.partition("=")[0]
    near = closest(flag, PRICED) if flag.startswith("--") and flag not in WAYS else []
    meant = f". Did you mean {' or '.join(near)}?" if near else ""
    why = WAYS.get(flag, "the model has no price for anything else")
    return BadValue(WHAT, word, f"{priced_arguments()}; {why}{meant}")
