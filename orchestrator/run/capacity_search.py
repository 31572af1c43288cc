"""`--find-max`: the highest load at which a server still meets the latency limits.

Each level tried is an ordinary run, published like any other; where a search stands follows from
the runs that are published, so it resumes like everything else.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from catalog.errors import BadValue
from orchestrator.experiment.cells import Cell, LoadPoint, Run, cells_of
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.plan import Plan
from orchestrator.results.record import RunRecord
from workloads.figures.capacity import knee, levels_of
from workloads.load.search import LoadSearch
from workloads.load.workload import Workload

DEFAULT_LIMIT = 1024.0
Records = Mapping[str, RunRecord]


@dataclass(frozen=True, slots=True)
class CapacitySearch:
    """The search for one workload on one server."""

    template: Cell
    """Its load and number of prompts are those of whichever level is tried."""
    replicate: int
    start: float
    limit: float
    by_rate: bool
    attainment: float
    fixed_prompts: int | None

    def run_at(self, level: float) -> Run:
        """Return the run that tries a level, sized so that the level can be held."""
        load = LoadPoint(
            max_concurrency=self.template.load.max_concurrency if self.by_rate else int(level),
            request_rate=level if self.by_rate else None,
            burstiness=self.template.load.burstiness,
            rate_curve=self.template.load.rate_curve,
        )
        workload = self.template.workload
        if workload.available is None:  # of a file or trace, what is asked for is what is sent
            workload = msgspec.structs.replace(workload, num_prompts=None)
        count = self.fixed_prompts or workload.prompts_for(int(level))
        changed = msgspec.structs.replace(self.template, load=load, num_prompts=count)
        return Run(changed, self.replicate)

    def state(self, records: Records) -> LoadSearch:
        """Replay the runs that are done; `next_level` then says what is to be tried."""
        search = LoadSearch(
            start=self.start,
            limit=self.limit,
            smallest=min(1.0, self.start),
            whole=not self.by_rate,
        )
        while (level := search.next_level()) is not None:
            record = records.get(self.run_at(level).run_id)
            if record is None:
                break
            search.record(level, met=self.met(record))
        return search

    def shown(self, level: float | None) -> float | int | None:
        return level if self.by_rate or level is None else int(level)

    def met(self, record: RunRecord) -> bool:
        """Whether the limits were met, by the class of requests that met them least."""
        overall = record.extra.get("slo_attainment")
        reached = record.extra.get("slo_attainment_worst", overall)
        return isinstance(reached, float) and reached >= self.attainment


def searches(experiment: Experiment, group: ServerGroup) -> tuple[CapacitySearch, ...]:
    """Return a group's searches: one a workload, from its lowest to its highest load asked for."""
    by_workload: dict[Workload, list[Cell]] = {}
    for cell in cells_of(experiment, group.setup):
        by_workload.setdefault(cell.workload, []).append(cell)
    return tuple(_search(experiment, group, cells) for cells in by_workload.values())


def _search(experiment: Experiment, group: ServerGroup, cells: Sequence[Cell]) -> CapacitySearch:
    """Search by the rate where one is given, or a trace has its own."""
    by_rate = cells[0].load.request_rate is not None
    levels = [_level(cell.load, by_rate=by_rate) for cell in cells]
    bounded = by_rate or experiment.concurrency is not None
    limit = max(levels) if bounded and len(set(levels)) > 1 else max(*levels, DEFAULT_LIMIT)
    prompts = experiment.num_prompts
    return CapacitySearch(
        template=cells[0],
        replicate=group.replicate,
        start=min(levels),
        limit=limit,
        by_rate=by_rate,
        attainment=experiment.attainment,
        fixed_prompts=prompts if isinstance(prompts, int) else None,
    )


def check_searchable(experiment: Experiment) -> None:
    if experiment.find_max and not experiment.goodput:
        raise BadValue("--find-max", "no --goodput", "with limits: --goodput ttft:200 tpot:50")


def search_rows(
    plan: Plan, records: Records
) -> Iterator[dict[str, float | int | str | bool | None]]:
    """Yield a row for each search: the highest load that met the limits, and the next that did not.

    The attainment and its 95 % Wilson interval are those of the run at that load.
    """
    for group in plan.groups:
        for search in searches(plan.experiment, group):
            yield _found_row(search, search.state(records), records)


def _found_row(
    search: CapacitySearch, state: LoadSearch, records: Records
) -> dict[str, float | int | str | bool | None]:
    setup = search.template.setup
    best = records.get(search.run_at(state.passed).run_id) if state.passed is not None else None
    extra = best.extra if best else {}
    return {
        "model": setup.model,
        "strategy": setup.strategy,
        "workload": search.template.workload.name,
        "replicate": search.replicate,
        "searched": "request_rate" if search.by_rate else "max_concurrency",
        "highest": search.shown(state.passed),
        "next_failed": search.shown(state.failed),
        "complete": state.next_level() is None,
        "slo_attainment": extra.get("slo_attainment"),
        "slo_attainment_low": extra.get("slo_attainment_low"),
        "slo_attainment_high": extra.get("slo_attainment_high"),
        "knee": _knee(search, state.tried, records),
        "usd_per_million_output_tokens": extra.get("usd_per_million_output_tokens"),
        "output_throughput": best.output_throughput if best else None,
        "request_goodput": best.request_goodput if best else None,
        "mean_ttft_ms": best.mean_ttft_ms if best else None,
        "mean_tpot_ms": best.mean_tpot_ms if best else None,
        "provenance": best.provenance if best else None,
        "verdict": best.verdict if best else None,
        "verdict_reasons": best.verdict_reasons if best else None,
        "run_id": best.run_id if best else None,
    }


def _knee(search: CapacitySearch, tried: Sequence[float], records: Records) -> float | int | None:
    """Return the load of most throughput per second of latency among the valid runs of a search."""
    done = [found for level in tried if (found := records.get(search.run_at(level).run_id))]
    unit = "requests/s" if search.by_rate else "concurrent requests"
    rows = [msgspec.to_builtins(record) for record in done if record.verdict == "valid"]
    best = knee(levels_of(rows, unit))
    return None if best is None else search.shown(best.load)


def _level(load: LoadPoint, *, by_rate: bool) -> float:
    level = load.request_rate if by_rate else load.max_concurrency
    assert level is not None
    return float(level)
