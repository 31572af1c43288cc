"""Tables IV, V, VI and VII of the parallelism paper, from any run table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import pandas as pd

from analysis import paper
from analysis.cells import Cell, mean_cell, ratio_cell
from analysis.diffusion_table import diffusion_table, split_diffusion
from analysis.frame import require
from analysis.grid import conditions_of, keyed
from analysis.order import WORKLOADS, ordered, shown
from analysis.place import source_of
from analysis.select import Selection, select
from analysis.table import Table
from catalog.errors import BadFile, UnknownName

HEADINGS = {"tp": "TP", "ep": "EP", "tp+ep": "Hybrid", "single": "Single GPU"}
PAPER_LOADS = (1, 4, 8, 16, 32, 64, 128)
WORKLOAD_HEADINGS = {
    "decode-heavy": "Decode",
    "prefill-heavy": "Prefill",
    "balanced": "Balanced",
}


def throughput(chosen: Selection, *, level: float = 0.95) -> Table:
    """Table IV: mean throughput by model and strategy, and EP as a percentage of TP."""
    table = _by_strategy(chosen, "output_throughput", level)
    made = replace(
        table, number="IV", title="Mean throughput by model and strategy", unit="tokens/s"
    )
    with_paper = _beside(made, paper.values("table4_throughput", ("model", "strategy"), _TOK_S))
    return _with_ep_over_tp(with_paper, chosen.frame, level)


def per_gpu(chosen: Selection, *, level: float = 0.95) -> Table:
    """Table V: mean throughput per GPU by model and strategy."""
    table = _by_strategy(chosen, "output_throughput_per_gpu", level)
    made = replace(
        table,
        number="V",
        title="Mean throughput per GPU by model and strategy",
        unit="tokens/s/GPU",
    )
    key = ("model", "strategy")
    return _beside(made, paper.values("table5_per_gpu", key, "throughput_per_gpu_tok_s"))


def ep_over_tp(chosen: Selection, *, level: float = 0.95) -> Table:
    """Table VI: EP throughput as a percentage of TP, by model and workload."""
    rows = chosen.frame
    workloads = [str(name) for name in ordered(rows["workload"])]
    lines = []
    for model in ordered(rows["model"]):
        here = rows[rows["model"] == model]
        cells = [_percent(here[here["workload"] == name], level) for name in workloads]
        lines.append((str(model), tuple(cells)))
    table = Table(
        number="VI",
        title="EP throughput as a percentage of TP, by model and workload",
        unit="%",
        corner="Model",
        columns=tuple(WORKLOAD_HEADINGS.get(name, name) for name in workloads),
        rows=tuple(lines),
        provenance=chosen.provenance,
        level=level,
    )
    key = ("model", "workload")
    return _beside(table, paper.values("table6_ep_over_tp", key, "ep_over_tp_percent"))


_TOK_S = "output_throughput_tok_s"


def _by_strategy(chosen: Selection, response: str, level: float) -> Table:
    rows = chosen.frame
    strategies = [str(name) for name in ordered(rows["strategy"])]
    lines = []
    for model in ordered(rows["model"]):
        here = rows[rows["model"] == model]
        cells = [mean_cell(here[here["strategy"] == s], response, level=level) for s in strategies]
        lines.append((str(model), tuple(cells)))
    return Table(
        number="",
        title="",
        unit="",
        corner="Model",
        columns=tuple(HEADINGS.get(name, name) for name in strategies),
        rows=tuple(lines),
        provenance=chosen.provenance,
        level=level,
        notes=(*_uneven(rows), *_other_conditions(rows)),
    )


def _percent(rows: pd.DataFrame, level: float) -> Cell:
    ep, tp = (rows[rows["strategy"] == name] for name in ("ep", "tp"))
    cell = ratio_cell(ep, tp, "output_throughput", level=level)
    value, low, high = (None if v is None else 100 * v for v in (cell.value, cell.low, cell.high))
    return replace(cell, value=value, low=low, high=high)


def _with_ep_over_tp(table: Table, rows: pd.DataFrame, level: float) -> Table:
    if not {"TP", "EP"} <= set(table.columns):
        return table
    tp, ep = table.columns.index("TP"), table.columns.index("EP")
    lines = []
    for name, cells in table.rows:
        ratio = _percent(rows[rows["model"] == name], level)
        published = cells[ep].paper, cells[tp].paper
        if published[0] and published[1]:
            ratio = replace(ratio, paper=100 * published[0] / published[1])
        lines.append((name, (*cells, ratio)))
    return replace(table, columns=(*table.columns, "EP/TP"), rows=tuple(lines))


def _beside(table: Table, published: Mapping[tuple[str, ...], float]) -> Table:
    """Put the paper's number into each cell that it has one for."""
    names = {heading: name for name, heading in (HEADINGS | WORKLOAD_HEADINGS).items()}
    keys = [names.get(column, column) for column in table.columns]
    lines = []
    for name, cells in table.rows:
        own = zip(keys, cells, strict=True)
        lines.append((name, tuple(replace(c, paper=published.get((name, k))) for k, c in own)))
    return replace(table, rows=tuple(lines))


def _other_conditions(rows: pd.DataFrame) -> tuple[str, ...]:
    """Say when the means are over other conditions than the paper's, which its numbers rest on."""
    told = []
    for column, theirs in (("workload", WORKLOADS), ("max_concurrency", PAPER_LOADS)):
        if column in rows and set(rows[column]) != set(theirs):
            ours = ", ".join(shown(level) for level in ordered(rows[column].dropna())[:8])
            told.append(f"{column} {ours}")
    if not told:
        return ()
    return (f"not the paper's conditions, so its numbers are no like for like: {'; '.join(told)}",)


def _uneven(rows: pd.DataFrame) -> tuple[str, ...]:
    """Say where strategies are averaged over different conditions."""
    notes = []
    for model, here in rows.groupby("model"):
        counts = {
            str(strategy): len(there[conditions_of(there)].drop_duplicates())
            for strategy, there in here.groupby("strategy")
        }
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{s} {n}" for s, n in counts.items())
            notes.append(f"{model}: means are over different conditions ({told})")
    return tuple(notes)


@dataclass(frozen=True, slots=True)
class Kind:
    """How a table is made and what it needs."""

    make: Callable[..., Table]
    response: str
    factors: tuple[str, ...]


TABLES: dict[str, Kind] = {
    "IV": Kind(throughput, "output_throughput", ("model", "strategy")),
    "V": Kind(per_gpu, "output_throughput_per_gpu", ("model", "strategy")),
    "VI": Kind(ep_over_tp, "output_throughput", ("model", "strategy", "workload")),
    "VII": Kind(diffusion_table, "output_throughput", ("model", "steps", "generation_length")),
}


def tables(
    frame: pd.DataFrame,
    numbers: tuple[str, ...] = (),
    *,
    provenance: str | None = None,
    every_verdict: bool = False,
    level: float = 0.95,
) -> list[Table]:
    """Make the tables asked for, or all that the columns allow."""
    for number in numbers:
        if number.upper() not in TABLES:
            raise UnknownName("table", number, TABLES)
    made = []
    diffusion, serving = split_diffusion(frame)
    for number in numbers or TABLES:
        kind = TABLES[number.upper()]
        rows = diffusion if number.upper() == "VII" else serving
        if not numbers and (rows.empty or not {kind.response, *kind.factors} <= set(rows)):
            continue
        if rows.empty:
            raise BadFile(source_of(frame), f"has no runs for table {number.upper()}")
        chosen = select(
            rows,
            response=kind.response,
            factors=kind.factors,
            provenance=provenance,
            every_verdict=every_verdict,
        )
        made.append(kind.make(replace(chosen, frame=keyed(chosen.frame)), level=level))
    if not made:
        require(serving if len(serving) else frame, ["model", "strategy", "output_throughput"])
    return made
