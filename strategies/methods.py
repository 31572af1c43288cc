"""Techniques that trade memory, speed and quality: each method, its parameters, who can do it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from catalog.units import GIB, size_bytes

Values = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One knob of a method: its allowed values in words, and a check."""

    allowed: str
    accepts: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Method:
    """What a technique changes, which engines do it, and how they are told.

    Data types say how weights or cache are stored, for estimates of memory; None leaves them.
    """

    about: str
    engines: tuple[str, ...]
    changes: tuple[str, ...]
    """Methods that change the same thing cannot be combined."""
    vllm_args: Callable[[Values], list[str]] = lambda _: []
    value: Parameter | None = None
    """What stands bare after the colon, stored under the name `value`; None takes nothing."""
    knobs: Mapping[str, Parameter] = field(default_factory=dict)
    weight_dtype: str | None = None
    expert_dtype: str | None = None
    kv_dtype: str | None = None
    cpu_needs: tuple[str, ...] = ()
    """Instruction sets of which vLLM on an x86 CPU needs one; `gpu`: there is no CPU kernel."""
    memory_known: bool = True
    """False where the memory taken follows from no data type."""
    weights_known: bool = True
    """False where not even the least bytes of the weights are known."""


def _count(most: int, least: int = 0) -> Parameter:
    return Parameter(
        f"{least} to {most}",
        lambda text: text.isascii() and text.isdigit() and least <= int(text) <= most,
    )


def _one_of(*names: str) -> Parameter:
    return Parameter(", ".join(names), names.__contains__)


def _is_share(text: str) -> bool:
    return re.fullmatch(r"0?\.\d{1,6}|1(\.0*)?", text) is not None and float(text) > 0


def _is_size(text: str) -> bool:
    return (size_bytes(text) or 0.0) > 0


def _is_part(text: str) -> bool:
    return _is_share(text) and float(text) < 1


SIZE = Parameter("a size such as 8GiB", _is_size)
THRESHOLD = Parameter(
    "0 to 1, such as 0.05",
    lambda text: re.fullmatch(r"0?\.\d{1,6}|0|1(\.0*)?", text) is not None,
)
SHARE = Parameter("a share over 0 up to 1, such as 0.25", _is_share)
PART = Parameter("a share over 0 and below 1, such as 0.25", _is_part)
PRUNED_BY = ("use", "weight", "router")
TEXT = Parameter("a text file, no colon, + or comma in its path", lambda text: bool(text.strip()))
HQQ_BITS = (8, 4, 3, 2)
TORCHAO_GROUPS = ("32", "64", "128", "256")
HQQ_GROUPS = ("8", "16", *TORCHAO_GROUPS)
"""Weights of a row that share a scale."""
CHECKPOINT = Parameter(
    "a checkpoint: a directory or a Hugging Face id",
    lambda text: bool(text) and not text.startswith("-") and text.isprintable(),
)


def _gib(text: str) -> str:
    return f"{(size_bytes(text) or 0.0) / GIB:.6g}"


def _dtype(name: str, short: str) -> Method:
    return Method(
        about=f"weights and arithmetic in {name}",
        engines=("vllm", "simulated", "transformers"),
        changes=("weights",),
        vllm_args=lambda _: ["--dtype", name],
        weight_dtype="bfloat16" if short == "bf16" else name,
        expert_dtype="bfloat16" if short == "bf16" else name,
    )


def _checkpoint(method: str) -> Method:
    return Method(
        about=f"another checkpoint of the model, quantised with {method.upper()}",
        engines=("vllm",),
        changes=("weights", "checkpoint"),
        vllm_args=lambda _: ["--quantization", method],
        value=CHECKPOINT,
        cpu_needs=("amx_tile",),
    )


def _cache(dtype: str, bits: str, stored: str | None, needs: tuple[str, ...]) -> Method:
    return Method(
        about=f"KV cache in {bits}",
        engines=("vllm", "simulated") if stored else ("vllm",),
        changes=("cache",),
        vllm_args=lambda _: ["--kv-cache-dtype", dtype],
        kv_dtype=stored,
        cpu_needs=needs,
    )


def _library(
    about: str,
    dtype: str | None,
    *,
    grouped: bool = False,
    knobs: Mapping[str, Parameter] = MappingProxyType({}),
    cpu_needs: tuple[str, ...] = (),
) -> Method:
    """Quantised by a library while loading; a scale for each group comes on top of the type."""
    return Method(
        about=f"{about}; routers, embeddings and head stay",
        engines=("transformers",),
        changes=("quantisation", "experts"),
        knobs=knobs,
        weight_dtype=dtype,
        expert_dtype=dtype,
        cpu_needs=cpu_needs,
        memory_known=not grouped,
        weights_known=dtype is not None,
    )


METHODS: dict[str, Method] = {
    "fp32": _dtype("float32", "fp32"),
    "bf16": _dtype("bfloat16", "bf16"),
    "fp16": _dtype("float16", "fp16"),
    "fp8": Method(
        about="weights and activations of linear layers and experts in 8-bit floating point, "
        "quantised while loading; embeddings and head stay",
        engines=("vllm", "simulated"),
        changes=("weights",),
        vllm_args=lambda _: ["--quantization", "fp8"],
        weight_dtype="fp8",
        expert_dtype="fp8",
        cpu_needs=("gpu",),
    ),
    "int8": Method(
        about="experts in 8-bit integers, one scale a row, quantised while loading",
        engines=("vllm", "transformers"),
        changes=("weights", "quantisation"),
        vllm_args=lambda _: ["--quantization", "experts_int8"],
        expert_dtype="int8",
        cpu_needs=("amx_tile",),
    ),
    "torchao-int8": _library("weights in 8-bit integers by torchao, one scale a row", "int8"),
    "torchao-fp8": _library("weights in 8-bit floating point by torchao, a scale a row", "fp8"),
    "torchao-int4": _library(
        "weights in 4-bit integers by torchao, a scale and zero a group (128); arithmetic in bf16",
        "int4",
        grouped=True,
        knobs={"group": _one_of(*TORCHAO_GROUPS)},
        cpu_needs=("gpu",),
    ),
    "bnb-int8": _library(
        "LLM.int8() by bitsandbytes: weights and activations but outliers", "int8"
    ),
    "bnb-nf4": _library(
        "weights in 4-bit NormalFloat by bitsandbytes, a scale for each 64", "int4", grouped=True
    ),
    "bnb-fp4": _library(
        "weights in 4-bit floating point by bitsandbytes, a scale for each 64", "int4", grouped=True
    ),
    "hqq": _library(
        "weights in few bits (4) by HQQ, a scale and zero a group (64)",
        None,
        grouped=True,
        knobs={"bits": _one_of(*map(str, HQQ_BITS)), "group": _one_of(*HQQ_GROUPS)},
    ),
    "awq": _checkpoint("awq"),
    "gptq": _checkpoint("gptq"),
    "variant": Method(
        about="another checkpoint in the model's place: distilled, merged, pruned, quantised",
        engines=("vllm", "simulated", "transformers"),
        changes=("checkpoint",),
        value=CHECKPOINT,
    ),
    "gguf": Method(
        about="a GGUF file of the model, quantised as the file is",
        engines=("llamacpp",),
        changes=("weights", "checkpoint"),
        value=Parameter("a GGUF file, no + or comma in its path", CHECKPOINT.accepts),
        memory_known=False,
        weights_known=False,
    ),
    "kv-fp8": _cache("fp8", "8-bit floating point", "fp8", ("avx512f", "amx_tile")),
    "kv-int8": _cache("int8_per_token_head", "8-bit integers, a scale a head", None, ("gpu",)),
    "kv-int4": _cache("int4_per_token_head", "4-bit integers, a scale a head", None, ("gpu",)),
    "cpu-offload": Method(
        about="this much of each GPU's weights stays in host memory and is read over the link",
        engines=("vllm",),
        changes=("place",),
        vllm_args=lambda values: ["--cpu-offload-gb", _gib(values["value"])],
        value=SIZE,
        cpu_needs=("gpu",),
    ),
    "layer-offload": Method(
        about="of each `group` layers the last `layers` stay in host memory, fetched `ahead` early",
        engines=("vllm",),
        changes=("place",),
        vllm_args=lambda values: [
            *("--offload-group-size", values.get("group", "8")),
            *("--offload-num-in-group", values.get("layers", "2")),
            *("--offload-prefetch-step", values.get("ahead", "1")),
        ],
        knobs={"group": _count(1024, 1), "layers": _count(1024, 1), "ahead": _count(64, 1)},
        cpu_needs=("gpu",),
    ),
    "expert-offload": Method(
        about="experts in host memory, the most useful ones resident within a budget",
        engines=("transformers",),
        changes=("place", "experts"),
        knobs={
            "resident": _count(65536, 1),
            "memory": SIZE,
            "share": SHARE,
            "cache": _one_of("lru", "activation"),
            "prefetch": _count(64),
            "ahead": _count(8, 1),
            "split": _one_of("none", "layers"),
            "skip": THRESHOLD,
            "experts": _one_of("full", "int8"),
            "compute": _one_of("move", "host", "measured"),
        },
    ),
    "prune-experts": Method(
        about="this share of each layer's experts is left out while loading, the least used first",
        engines=("simulated", "transformers"),
        changes=("number of experts",),
        knobs={"share": PART, "by": _one_of(*PRUNED_BY), "text": TEXT},
    ),
    "prune-width": Method(
        about="this share of each expert's width is left out while loading, least norm first",
        engines=("simulated", "transformers"),
        changes=("width of experts",),
        knobs={"share": PART},
    ),
    "accelerate-offload": Method(
        about="accelerate's device map: layers on the GPU up to `gpu`, then in host memory up to "
        "`cpu`, then on disk; all of a layer is brought in for every pass",
        engines=("transformers", "simulated"),
        changes=("place", "experts", "quantisation", "number of experts", "width of experts"),
        knobs={"gpu": SIZE, "cpu": SIZE},
    ),
    "host-experts": Method(
        about="experts, of the first `layers` or of all, stay in host memory, computed there",
        engines=("llamacpp",),
        changes=("place",),
        knobs={"layers": _count(1024, 1)},
        memory_known=False,
    ),
    "label": Method(
        about="what a server that already runs does, in your words",
        engines=("endpoint",),
        changes=("weights",),
        value=Parameter("a word", lambda text: bool(text) and text.isprintable()),
        memory_known=False,
        weights_known=False,
    ),
}
