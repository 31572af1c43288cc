"""From an imported run to a row of the run table."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from analysis.importers.labels import GIVEN, layout_named
from analysis.importers.leftovers import Scalar
from analysis.importers.result import ImportedRun, Number, measured_only
from orchestrator.results.condition import LABELS
from orchestrator.results.record import RunRecord, Verdict
from strategies import Layout

UNSEEN = "REQUESTS_NOT_SEEN"
"""A note on every row that rests on a tool's own summary: single requests were not looked at."""
SNAP = 0.015


def record_of(
    result: ImportedRun, labels: Mapping[str, Scalar], *, source: str = "", run_id: str = ""
) -> RunRecord:
    """Fill a row of the run table from what the file says and what the user adds."""
    layout = layout_named(str(labels.get("strategy", ""))) or result.layout
    summary = _summary(result, _gpus(result, layout, labels))
    verdict, reasons = _verdict(result, summary)
    given = {name: value for name, value in labels.items() if name not in GIVEN}
    own: dict[str, Any] = {n: labels[n] for n in GIVEN if n in labels and n != "strategy"}
    extra: dict[str, Scalar | None] = {
        "tool": result.tool,
        "source": source or result.source.path.name,
        **_mean_lengths(result),
        **result.measured,
        **result.labels,
        **given,
        LABELS: _fractions({**result.labels, **given}),
    }
    fields: dict[str, Any] = {
        **_identity(result, layout), **_lengths(result), "num_gpus": _gpus(result, layout, labels),
        **own,
    }  # fmt: skip
    fields["workload"] = fields.get("workload") or _workload(fields)
    fields.setdefault("replicate", result.replicate)
    return RunRecord(
        run_id=run_id or f"import-{digest(result.source.data)}",
        cell_id="",
        attempt=1,
        block=fields["replicate"],
        verdict=verdict,
        verdict_reasons=reasons,
        verdict_notes="" if result.rows else UNSEEN,
        provenance="imported",
        extra={name: value for name, value in extra.items() if value is not None},
        **fields,
        **summary,  # type: ignore[arg-type]
    )


def _fractions(labels: Mapping[str, Scalar | None]) -> str | None:
    """Names of labels that their numbers alone would not tell from measurements."""
    return ",".join(sorted(n for n, v in labels.items() if isinstance(v, float))) or None


def _identity(result: ImportedRun, layout: Layout | None) -> dict[str, Any]:
    return {
        "started_at": result.started_at,
        "engine": result.engine,
        "model": result.model,
        "strategy": layout.name if layout else "",
        "tp": layout.tp if layout else None,
        "dp": layout.dp if layout else None,
        "pp": layout.pp if layout else None,
        "ep": layout.ep if layout else None,
        "gpu_type": result.gpu_type,
        "technique": "",
        "num_prompts": result.num_prompts,
        "max_concurrency": result.max_concurrency,
        "request_rate": result.request_rate,
        "burstiness": result.burstiness,
    }


def _gpus(result: ImportedRun, layout: Layout | None, labels: Mapping[str, Scalar]) -> int | None:
    if "num_gpus" in labels:
        return int(labels["num_gpus"])
    if "strategy" in labels and layout:
        return layout.num_gpus
    return result.num_gpus or (layout.num_gpus if layout else None)


def _summary(result: ImportedRun, gpus: int | None) -> dict[str, Number]:
    summary = measured_only(result.summary)
    total = summary.get("output_throughput")
    if gpus and total is not None:
        summary["output_throughput_per_gpu"] = total / gpus
    for name, value in summary.items():
        if value is not None and value < 0:
            raise result.source.bad(f"{name} would be {value:g}: below zero")
    return summary


def _lengths(result: ImportedRun) -> dict[str, int | None]:
    """Lengths of the workload: as asked, or the measured mean on a coarse scale.

    The mean of a data set differs a little from run to run; it is one workload all the same.
    """
    means = (result.input_len, result.output_len)
    asked, found = result.asked, [coarse(mean) for mean in means]
    return {"input_len": asked[0] or found[0], "output_len": asked[1] or found[1]}


def _mean_lengths(result: ImportedRun) -> dict[str, float | None]:
    means = {"tool_mean_input_len": result.input_len, "tool_mean_output_len": result.output_len}
    found = _lengths(result).values()
    return {n: m for (n, m), shown in zip(means.items(), found, strict=True) if m != shown and m}


def coarse(mean: float | None) -> int | None:
    """The power of two, or three times one, within 1.5 %; else two significant digits."""
    if not mean or mean <= 0 or not math.isfinite(mean):
        return None
    for odd in (1, 3):
        power = odd * 2.0 ** round(math.log2(mean / odd))
        if power.is_integer() and abs(power - mean) <= SNAP * mean:
            return round(power)
    unit: int = 10 ** max(0, math.floor(math.log10(mean)) - 1)
    return max(1, round(mean / unit) * unit)


def _workload(fields: Mapping[str, Any]) -> str:
    """`1024:128` by its lengths; never by its number of prompts, which follows the load."""
    lengths = [fields.get(name) for name in ("input_len", "output_len")]
    return ":".join(str(length or "?") for length in lengths) if any(lengths) else ""


def _verdict(result: ImportedRun, summary: Mapping[str, Number]) -> tuple[Verdict, str]:
    """Judge what a summary shows: stopped early, failed requests, no tokens."""
    reasons = []
    if summary.get("failed"):
        reasons.append("ERRORS")
    if summary.get("total_output_tokens") == 0 or summary.get("output_throughput") == 0:
        reasons.append("ZERO_TOKENS")
    if not result.complete:
        return "interrupted", ";".join(["INCOMPLETE", *reasons])
    return ("invalid" if reasons else "valid"), ";".join(reasons)


def digest(*data: object) -> str:
    text = json.dumps(data, sort_keys=True, default=str)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]
