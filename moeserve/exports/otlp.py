"""OpenTelemetry metrics as OTLP/JSON: the body of a request to a collector's /v1/metrics."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from moeserve import __version__
from moeserve.exports.metrics import labels, metrics, unit_of
from orchestrator.results.record import Row

PREFIX = "moeserve."
UNITS = {"s": "s", "ms": "ms", "bytes": "By", "tokens/s": "{token}/s", "requests/s": "{request}/s",
         "tokens": "{token}", "requests": "{request}", "W": "W", "J": "J", "share": "1",
         "tokens/s/GPU": "{token}/s"}  # fmt: skip
"""In the notation of UCUM, which OpenTelemetry asks for."""


def otlp_metrics(rows: Iterable[Row]) -> dict[str, Any]:
    """Every measurement as a gauge; a point is a run, at the time it was started."""
    points: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        attributes = [_attribute(name, text) for name, text in labels(row).items()]
        at = nanoseconds(str(row.get("started_at") or ""))
        for name, value in metrics(row):
            point = {"attributes": attributes, "timeUnixNano": str(at), "asDouble": value}
            points.setdefault(name, []).append(point)
    listed = [
        {
            "name": PREFIX + name,
            "unit": UNITS.get(unit_of(name), "1"),
            "gauge": {"dataPoints": found},
        }
        for name, found in points.items()
    ]
    resource = {"attributes": [_attribute("service.name", "moeserve")]}
    scope = {"name": "moeserve", "version": __version__}
    return {
        "resourceMetrics": [
            {"resource": resource, "scopeMetrics": [{"scope": scope, "metrics": listed}]}
        ]
    }


def nanoseconds(started_at: str) -> int:
    """UTC time of ISO 8601 as nanoseconds since 1970; 0, which is «unknown», for any other text."""
    try:
        at = datetime.fromisoformat(started_at)
    except ValueError:
        return 0
    return round(at.timestamp() * 1e6) * 1000 if at.tzinfo else 0


def _attribute(name: str, text: str) -> dict[str, Any]:
    return {"key": name, "value": {"stringValue": text}}
