"""From a run's rows to its row of the run table."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from catalog.errors import MoeserveError, ServerError
from orchestrator.engine import Measurement, Session
from orchestrator.engines.registry import engine_kind
from orchestrator.experiment.cells import Run, Setup
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.measure.energy import price_figures
from orchestrator.plan import Plan
from orchestrator.results.condition import cell_columns, version_of
from orchestrator.results.record import MEASURED, RunRecord, Verdict
from orchestrator.run.bugs import Bug
from orchestrator.run.evidence import Evidence
from orchestrator.run.validity import NOTES, reasons_against
from workloads.figures.goodput import wilson_interval
from workloads.figures.metrics import good_requests
from workloads.figures.mixed import cache_figures, length_figures
from workloads.figures.normalised import normalised_figures
from workloads.figures.summary import figures_of
from workloads.transcript import RequestRow, Transcript

CODE = re.compile(r"[A-Z][A-Z_]+:")

_FIELDS = frozenset(RunRecord.__struct_fields__)


def build_record(
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
    own = {**summary, **attainment(rows, goodput)}
    # What the rows give comes last again: nothing that a server says takes its place.
    figures: dict[str, Any] = {**own, **measurement.figures, **own}
    if run.cell.workload.parts:
        figures |= {**length_figures(rows), **normalised_figures(rows)}
        figures |= cache_figures(rows, measurement.figures)
    measured = identity["provenance"] == MEASURED
    evidence = Evidence(
        run.cell,
        plan.stored(setup),
        rows,
        figures,
        measured=measured,
        probing=experiment.find_max,
    )
    reasons = (*reasons_against(evidence), *measurement.reasons)
    # Of a server as it is served, the user may say how many GPUs it has, if not how it uses them.
    num_gpus = identity["num_gpus"] or (experiment.gpus if setup.layout is None else None)
    identity = {**identity, "num_gpus": num_gpus}
    price = price_per_hour(setup, experiment.price_per_hour_usd)
    figures |= price_figures(figures, num_gpus, price)
    throughput = summary["output_throughput"]
    if goodput:
        limits = " ".join(f"{name}:{bound:g}" for name, bound in goodput.items())
        figures |= {"goodput_limits": limits, "slo_target": experiment.attainment}
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


def price_per_hour(setup: Setup, own: float | None) -> float | None:
    """Price of one GPU hour: the user's own where given, else the catalog's."""
    if own is not None:
        return own
    return setup.gpu.price_per_hour_usd if setup.gpu else None


def attainment(
    rows: Sequence[RequestRow], goodput: Mapping[str, float]
) -> dict[str, float | int | str | None]:
    """Return the share of all requests that met every limit, with its 95 % Wilson interval.

    A request that failed met none.
    """
    if not goodput:
        return {}
    run = Transcript.of(rows)
    good = good_requests(run.completed, goodput)
    low, high = wilson_interval(good, len(rows))
    return {
        "good_requests": good,
        "slo_attainment": good / len(rows) if rows else None,
        "slo_attainment_low": low,
        "slo_attainment_high": high,
        **_by_part(run, goodput),
    }


def _by_part(run: Transcript, goodput: Mapping[str, float]) -> dict[str, float | int | str | None]:
    """Return the share of each class of a mix, and the smallest: a class may not be starved."""
    parts = {part: run.where(run.part == part) for part in dict.fromkeys(run.part.tolist())}
    if len(parts) < 2:
        return {}
    shares = {part: good_requests(of.completed, goodput) / len(of) for part, of in parts.items()}
    told = " ".join(f"{part}:{share:.4g}" for part, share in sorted(shares.items()))
    return {"slo_attainment_worst": min(shares.values()), "slo_attainment_by_part": told}


def code_of(reason: str) -> str:
    """Return the code that a reason `CODE: numbers and advice` begins with."""
    return reason.split(":", 1)[0]


def failed_record(
    error: BaseException, verdict: Verdict, *, identity: Mapping[str, Any]
) -> RunRecord:
    """Build the row of a run that did not come to its end."""
    text = str(error) if isinstance(error, MoeserveError) else f"{type(error).__name__}: {error}"
    told = isinstance(error, ServerError | Bug) or CODE.match(text)
    code = code_of(text) if told else verdict.upper()
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
    return {
        "run_id": run.run_id,
        "cell_id": cell.cell_id,
        "replicate": run.replicate,
        "attempt": attempt,
        "block": group.replicate,
        "started_at": started_at,
        "provenance": (session or engine_kind(setup.engine)).provenance,
        **cell_columns(cell, gpu_type=session.gpu_type if session else ""),
        "engine_version": version_of(session.details if session else {}),
        "server_group": server_group,
        "seed": cell.seed,
    }
