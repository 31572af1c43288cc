"""Arrivals that a trace has recorded: their rate, and what cannot be asked beside them."""

import msgspec

from catalog.errors import BadValue
from orchestrator.experiment.experiment import Experiment
from workloads.load.files.trace import read_trace
from workloads.load.workload import TraceFile, Workload


def with_own_rate(workload: Workload, count: int | str | None) -> Workload:
    """Return a workload whose rate is that of the `count` requests of its trace that are sent.

    Another number than the workload's own is of the trace's first requests, as `prompts=` is.
    """
    if workload.rate_per_s is None or not isinstance(count, int):
        return workload
    source = workload.parts[0].source
    assert isinstance(source, TraceFile)
    return msgspec.structs.replace(workload, rate_per_s=read_trace(source).rate_per_s(count))


def refuse_unused(experiment: Experiment, workload: Workload) -> None:
    """Refuse what arrivals that are recorded, or a closed loop's, have no use for."""
    if experiment.burstiness != 1 and not experiment.request_rates:
        allowed = "with request_rates (--request-rate): it does nothing else"
        raise BadValue("burstiness", experiment.burstiness, allowed)
    sources = [part.source for part in workload.parts]
    replayed = len(sources) == 1 and not experiment.request_rates and not experiment.concurrency
    if not replayed and any(isinstance(one, TraceFile) and one.speed != 1 for one in sources):
        told = "speed= of a trace alone that keeps its own times (no --concurrency, --request-rate)"
        raise BadValue("workload", workload.name, told)
    if workload.rate_per_s is None or not experiment.request_rates:
        return
    told = f"none beside {workload.name}: a rate stretches the gaps that a trace has, it draws none"
    if experiment.burstiness != 1:
        raise BadValue("burstiness", experiment.burstiness, told)
    if experiment.rate_curve:
        raise BadValue("rate_curve", experiment.rate_curve, told)
