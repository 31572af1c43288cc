"""Prometheus text exposition format 0.0.4, as node_exporter's textfile collector reads it."""

from collections.abc import Iterable

from moeserve.exports.metrics import labels, metrics, unit_of
from orchestrator.results.record import Row

PREFIX = "moeserve_"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def prometheus_text(rows: Iterable[Row]) -> str:
    """Every measurement as a gauge of its own: one sample a run, labelled with its condition."""
    samples: dict[str, list[str]] = {}
    for row in rows:
        own = ",".join(f'{name}="{text.translate(_ESCAPES)}"' for name, text in labels(row).items())
        for name, value in metrics(row):
            samples.setdefault(name, []).append(f"{PREFIX}{name}{{{own}}} {value!r}")
    lines = []
    for name, found in samples.items():
        unit = unit_of(name)
        lines += [
            f"# HELP {PREFIX}{name} {name.replace('_', ' ')}{f' in {unit}' if unit else ''}",
            f"# TYPE {PREFIX}{name} gauge",
            *found,
        ]
    return "\n".join([*lines, ""])
