"""Small tables of kernels with times that a test can compute, in the form that is read."""

import itertools
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from catalog.models import GroupedQueryAttention, Model

TOKENS = (1, 16, 256, 4096, 16384)
EXPERTS_MS = 0.2
REDUCE_MS = 0.05
PRODUCT_MS = 0.03
SCORES_MS = 0.01
PROMPT_MS = 0.4


def write(root: Path, family: str, file: str, rows: list[dict], version: str = "0.24.0") -> Path:
    """One table of a folder `root`; H100's unless told otherwise."""
    path = root / "data" / "h100_sxm" / family / "vllm" / version / file
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def expert_rows(model: Model, splits: list[tuple[int, int]], dtype: str = "bfloat16") -> list[dict]:
    """Times in proportion to the root of tokens, with whole experts a half longer."""
    experts = model.experts
    assert experts is not None
    return [
        {
            "kernel_source": "triton", "moe_dtype": dtype, "num_tokens": tokens,
            "hidden_size": model.hidden, "inter_size": experts.width, "topk": experts.top_k,
            "num_experts": experts.count, "moe_tp_size": tp, "moe_ep_size": ep,
            "distribution": "power_law_1.01",
            "latency": EXPERTS_MS * tokens**0.5 * (1.5 if ep > 1 else 1.0),
        }
        for (tp, ep), tokens in itertools.product(splits, TOKENS)
    ]  # fmt: skip


def reduce_rows(ranks: int) -> list[dict]:
    """All-reduces that take the same whatever they send, longer ones outside of a graph."""
    return [
        {
            "allreduce_dtype": "bfloat16", "num_gpus": ranks, "message_size": size,
            "backend": backend, "latency": REDUCE_MS * factor,
        }
        for size in (128, 2**29) for backend, factor in (("vllm_graph", 1), ("vllm_eager", 7))
    ]  # fmt: skip


def product_rows(dtype: str = "bfloat16") -> list[dict]:
    return [
        {"gemm_dtype": dtype, "m": m, "n": n, "k": k, "latency": PRODUCT_MS}
        for m, n, k in itertools.product((1, 16384), (32, 65536), (32, 65536))
    ]


def attention_rows(model: Model, tp: int, *, prompts: bool, window: bool = True) -> list[dict]:
    """Times of a prompt in proportion to its sequences, those of decoding alike everywhere."""
    mixer = model.attention
    assert isinstance(mixer, GroupedQueryAttention)
    shared = {
        "num_heads": mixer.heads // tp, "num_key_value_heads": max(1, mixer.kv_heads // tp),
        "head_dim": mixer.head_dim, "attn_dtype": "bfloat16", "kv_cache_dtype": "bfloat16",
    } | ({"window_size": 0} if window else {})  # fmt: skip
    sizes = itertools.product((1, 256), (1, 16384))
    if prompts:
        return [
            {**shared, "batch_size": b, "isl": n, "step": 0, "latency": PROMPT_MS * b}
            for b, n in sizes
        ]
    return [
        {**shared, "batch_size": b, "isl": 1, "step": n, "latency": SCORES_MS} for b, n in sizes
    ]


def write_all(root: Path, model: Model, tp: int) -> None:
    """Every part of one model under tensor parallelism, with and without whole experts."""
    write(root, "moe", "moe_perf.parquet", expert_rows(model, [(tp, 1), (1, tp)]))
    write(root, "comm", "custom_allreduce_perf.parquet", reduce_rows(tp))
    write(root, "gemm", "gemm_perf.parquet", product_rows())
    for prompts, name in ((True, "context"), (False, "generation")):
        rows = attention_rows(model, tp, prompts=prompts)
        write(root, "attention", f"{name}_attention_perf.parquet", rows)
