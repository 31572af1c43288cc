"""The terminal's «Serving Benchmark Result» of vLLM and SGLang, with the keys of their JSON files.

Figures are rounded to two decimals there, and the model is not among them.
"""

import re
from collections.abc import Iterator
from typing import Any

TITLE = "Serving Benchmark Result"
_BLOCK = re.compile(rf"(?<!=)=++ *+{TITLE} *+=++(?P<body>.*?)(?:={{20}}|\Z)", re.DOTALL)
_LINE = re.compile(r"^[#>| \t]*+(?P<name>[A-Za-z][^:\n]*+):[ \t]++(?P<value>\S.*)$", re.MULTILINE)
_LATENCY = re.compile(
    r"(?P<statistic>mean|median|std|p\d+(?:\.\d+)?) (?P<metric>ttft|tpot|itl|e2el?(?: latency)?)",
)
_UNIT = re.compile(r"\s{0,20}\((?:s|ms|req/s|tok/s)\)")
COUNTS = {
    "successful requests": "completed",
    "failed requests": "failed",
    "maximum request concurrency": "max_concurrency",
    "max request concurrency": "max_concurrency",
    "request rate configured": "request_rate",
    "traffic request rate": "request_rate",
    "benchmark duration": "duration",
    "total input tokens": "total_input_tokens",
    "total generated tokens": "total_output_tokens",
    "request throughput": "request_throughput",
    "request goodput": "request_goodput",
    "output token throughput": "output_throughput",
    "total token throughput": "total_token_throughput",
    "total throughput": "total_token_throughput",
    "peak output token throughput": "max_output_tokens_per_s",
    "peak concurrent requests": "max_concurrent_requests",
    "concurrency": "effective_concurrency",
}
# Printed by the client before the block; a block's own line wins.
BEFORE = ("max_concurrency", "request_rate")


def is_printed(text: str) -> bool:
    return TITLE in text and text.lstrip()[:1] not in ("{", "[")


def summaries(text: str) -> Iterator[dict[str, Any]]:
    """Yield each block's figures; settings printed ahead of a block belong to it."""
    end = 0
    for match in _BLOCK.finditer(text):
        before = _figures(text[end : match.start()])
        end = match.end()
        settings = {name: value for name, value in before.items() if name in BEFORE}
        yield {"printed": True, **settings, **_figures(match["body"])}


def _figures(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for match in _LINE.finditer(text):
        name = _UNIT.sub("", match["name"].strip().lower())
        key = COUNTS.get(name) or _latency(name)
        if key is not None:
            found[key] = _value(match["value"].rstrip())
        elif name == "backend":
            found["backend"] = match["value"]
    return found


def _latency(name: str) -> str | None:
    match = _LATENCY.fullmatch(name)
    if match is None:
        return None
    metric = "e2el" if match["metric"].startswith("e2e") else match["metric"]
    return f"{match['statistic']}_{metric}_ms"


def _value(text: str) -> float | str:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return text
