"""Tables as a page's script reads them: columns, text coded by its place in a list."""

import json
import math
from collections.abc import Mapping, Sequence

RUN_COLUMNS = {
    "run_id": "run", "provenance": "provenance", "model": "model", "strategy": "strategy",
    "num_gpus": "GPUs", "gpu_type": "GPU", "workload": "workload",
    "max_concurrency": "concurrency", "effective_concurrency": "in flight",
    "request_rate": "requests/s", "replicate": "replicate",
    "completed": "completed", "failed": "failed", "output_throughput": "tokens/s",
    "mean_ttft_ms": "TTFT ms", "mean_itl_ms": "ITL ms", "mean_e2el_ms": "E2E ms",
    "usd_per_million_output_tokens": "$ per M tokens", "joules_per_output_token": "J per token",
    "verdict": "verdict", "verdict_reasons": "reasons",
}  # fmt: skip
"""Columns of the run table that a page shows, each with its heading."""


def packed_table(
    rows: Sequence[Mapping[str, object]], columns: Mapping[str, str]
) -> dict[str, object]:
    """Pack those of the columns that say anything in any row."""
    filled = [
        name for name in columns if any(plain(row.get(name)) not in (None, "") for row in rows)
    ]
    return {
        "columns": [columns[name] for name in filled],
        "cells": [coded([plain(row.get(name)) for row in rows]) for name in filled],
        "rows": len(rows),
    }


def coded(values: Sequence[object]) -> object:
    """Numbers as they are to six digits; text as its places in a list of its own."""
    if any(isinstance(value, str) for value in values):
        texts = ["" if value is None else str(value) for value in values]
        levels = list(dict.fromkeys(texts))
        place = {level: i for i, level in enumerate(levels)}
        return {"levels": levels, "codes": [place[text] for text in texts]}
    return [plain(value) for value in values]


def script_safe(data: object) -> str:
    """JSON without the characters that could end a script element or break a parser."""
    text = json.dumps(plain(data), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def plain(value: object) -> object:
    """Six significant digits are more than any figure shows, and half the bytes."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    item = getattr(value, "item", None)
    value = item() if item else value
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() and abs(value) < 1e15 else float(f"{value:.6g}")
    return value
