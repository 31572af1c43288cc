"""One look for a strategy everywhere: colour, marker and dash that also differ without colour."""

import zlib
from dataclasses import dataclass

from catalog.figure_style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, YELLOW


@dataclass(frozen=True, slots=True)
class Style:
    """How a strategy is drawn; marker and dash are matplotlib's codes."""

    colour: str
    marker: str
    dash: str


_FIXED = {
    "tp": Style(BLUE, "o", "-"),
    "ep": Style(VERMILLION, "s", "--"),
    "tp+ep": Style(GREEN, "^", "-."),
    "single": Style(PURPLE, "D", ":"),
}
_COLOURS = (ORANGE, SKY, YELLOW, GREY, BLUE, VERMILLION, GREEN, PURPLE)
_MARKERS = ("v", "P", "X", "*", "<", ">", "h")
_DASHES = ("-", "--", "-.", ":")


def style_of(strategy: str) -> Style:
    """The paper's four have fixed looks; any other name always hashes to the same one.

    `tp · fp8` keeps the colour of `tp`, with a mark and a dash that no plain layout has with it.
    """
    if strategy in _FIXED:
        return _FIXED[strategy]
    layout, _, technique = strategy.partition(" · ")
    if technique:
        base, code = style_of(layout), zlib.crc32(technique.encode())
        others = [dash for dash in _DASHES if dash != base.dash]
        marks = [mark for mark in _MARKERS if mark != base.marker]
        mark, dash = marks[code % len(marks)], others[code // 8 % len(others)]
        return Style(base.colour, mark, dash)
    code = zlib.crc32(strategy.encode())
    return Style(
        _COLOURS[code % len(_COLOURS)],
        _MARKERS[code // 8 % len(_MARKERS)],
        _DASHES[code // 64 % len(_DASHES)],
    )


LABELS = {
    "output_throughput": "Output throughput (tokens/s)",
    "output_throughput_per_gpu": "Output throughput per GPU (tokens/s/GPU)",
    "total_token_throughput": "Total token throughput (tokens/s)",
    "request_throughput": "Request throughput (requests/s)",
    "request_goodput": "Goodput (requests/s within SLO)",
    "max_concurrency": "Concurrency (requests in flight)",
    "usd_per_million_output_tokens": "Price ($ per million output tokens)",
    "joules_per_output_token": "Energy (J per output token)",
    "duration": "Duration (s)",
}
_METRICS = {
    "ttft": "time to first token",
    "itl": "inter-token latency",
    "tpot": "time per output token",
    "e2el": "end-to-end latency",
}


def label_of(column: str) -> str:
    """Axis label of a column, with its unit."""
    if column in LABELS:
        return LABELS[column]
    statistic, _, rest = column.partition("_")
    metric = rest.removesuffix("_ms")
    if metric in _METRICS:
        return f"{statistic.capitalize()} {_METRICS[metric]} (ms)"
    return column
