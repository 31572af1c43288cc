"""From a run's rows to its row of the run table."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from catalog.errors import MoeserveError, ServerError
from catalog.hardware_table import GPUS
from orchestrator.cells import Run, Setup
from orchestrator.energy import price_figures
from orchestrator.engines.base import Measurement, Session
from orchestrator.plan import Plan, ServerGroup
from orchestrator.record import RunRecord, Verdict
from orchestrator.verdict import NOTES, Evidence, reasons_against
from workloads.goodput import wilson_interval
from workloads.metrics import good_requests, percentile_floor, summarise
from workloads.transcript import RequestRow, Transcript

PERCENTILE = re.compile(r"(?P<window>steady_)?p(?P<percentile>\d+)_(?P<metric>[a-z0-9]+)_.*ms")

_FIELDS = frozenset(RunRecord.__struct_fields__)


def record_of(
    run: Run,
    rows: Sequence[RequestRow],
    measurement: Measurement,
    *,
    plan: Plan,
    identity: Mapping[str, Any],
) -> tuple[RunRecord, tuple[str, ...]]:
    """Summarise a finished run and judge it; return its row and every reason in words."""
    load, setup, experiment = run.cell.load, run.cell.setup, plan.experiment
    goodput = experiment.goodput
    summary = figures_of(rows, goodput=goodput, max_concurrency=load.max_concurrency)
    figures: dict[str, Any] = {**summary, **attainment(rows, goodput), **measurement.figures}
    measured = identity["provenance"] == "measured"
    evidence = Evidence(
        run.cell,
        plan.stored(setup),
        rows,
        figures,
        measured=measured,
        probing=experiment.find_max,
    )
    reasons = (*reasons_against(evidence), *measurement.reasons)
    price = price_per_hour(setup, experiment.price_per_hour_usd)
    figures |= price_figures(figures, identity["num_gpus"], price)
    throughput, num_gpus = summary["output_throughput"], identity["num_gpus"]
    codes = dict.fromkeys(code_of(reason) for reason in reasons)
    against = [code for code in codes if code not in NOTES]
    record = RunRecord(
        **identity,
        verdict="invalid" if against else "valid",
        verdict_reasons=";".join(against),
        verdict_notes=";".join(code for code in codes if code in NOTES),
        output_throughput_per_gpu=throughput / num_gpus if throughput and num_gpus else None,
        **{name: value for name, value in figures.items() if name in _FIELDS},
        extra={name: value for name, value in figures.items() if name not in _FIELDS},
    )
    return record, reasons


def figures_of(
    rows: Sequence[RequestRow],
    *,
    goodput: Mapping[str, float],
    max_concurrency: int | None,
) -> dict[str, float | int | None]:
    """Summarise rows; a percentile of fewer samples than can carry it is empty, not guessed."""
    summary = summarise(rows, goodput=goodput or None, max_concurrency=max_concurrency)
    done = Transcript(rows).completed
    counts = {"itl": len(done.gaps_s)}
    requests = {"": len(done.rows), "steady_": int(summary["steady_requests"] or 0)}
    for name in summary:
        match = PERCENTILE.fullmatch(name)
        if match is None:
            continue
        samples = counts.get(match["metric"], requests[match["window"] or ""])
        if samples < percentile_floor(float(match["percentile"])):
            summary[name] = None
    return summary


def price_per_hour(setup: Setup, own: float | None) -> float | None:
    """Price of one GPU hour: the user's own where given, else the catalog's."""
    if own is not None:
        return own
    gpu = GPUS.get(setup.hardware)
    return gpu.price_per_hour_usd if gpu else None


def attainment(
    rows: Sequence[RequestRow], goodput: Mapping[str, float]
) -> dict[str, float | int | None]:
    """Return the share of all requests that met every limit, with its 95 % Wilson interval.

    A request that failed met none.
    """
    if not goodput:
        return {}
    good = good_requests(Transcript(rows).completed, goodput)
    low, high = wilson_interval(good, len(rows))
    return {
        "good_requests": good,
        "slo_attainment": good / len(rows) if rows else None,
        "slo_attainment_low": low,
        "slo_attainment_high": high,
    }


def code_of(reason: str) -> str:
    """Return the code that a reason `CODE: numbers and advice` begins with."""
    return reason.split(":", 1)[0]


def failed_record(
    error: BaseException, verdict: Verdict, *, identity: Mapping[str, Any]
) -> RunRecord:
    """Build the row of a run that did not come to its end."""
    text = str(error) if isinstance(error, MoeserveError) else f"{type(error).__name__}: {error}"
    code = code_of(text) if isinstance(error, ServerError) else verdict.upper()
    return RunRecord(**identity, verdict=verdict, verdict_reasons=code, error=text)


def identity_of(
    run: Run,
    group: ServerGroup,
    session: Session | None,
    *,
    attempt: int,
    started_at: str,
    server_group: str,
) -> dict[str, Any]:
    """Return the columns that say which run this is."""
    cell, setup = run.cell, group.setup
    layout = setup.layout
    return {
        "run_id": run.run_id,
        "cell_id": cell.cell_id,
        "replicate": run.replicate,
        "attempt": attempt,
        "block": group.replicate,
        "started_at": started_at,
        "engine": setup.engine,
        "provenance": session.provenance if session else _expected_provenance(setup.engine),
        "model": setup.model,
        "strategy": setup.strategy,
        "tp": layout.tp if layout else None,
        "dp": layout.dp if layout else None,
        "pp": layout.pp if layout else None,
        "ep": layout.ep if layout else None,
        "num_gpus": layout.num_gpus if layout else None,
        "gpu_type": session.gpu_type if session else setup.hardware,
        "technique": setup.technique,
        "workload": cell.workload.name,
        "input_len": cell.workload.input_len,
        "output_len": cell.workload.output_len,
        "num_prompts": cell.num_prompts,
        "max_concurrency": cell.load.max_concurrency,
        "request_rate": cell.load.request_rate,
        "burstiness": cell.load.burstiness,
        "server_group": server_group,
        "seed": cell.seed,
    }


def _expected_provenance(engine: str) -> str:
    return "simulated" if engine == "simulated" else "measured"
