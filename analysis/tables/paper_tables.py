"""Tables IV, V, VI and VII of the parallelism paper, from any run table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Unpack

import pandas as pd

from analysis.data.conditions import (
    NOTHING_SAID,
    Pooling,
    kept_apart,
    labelled,
    said_apart,
)
from analysis.data.frame import require
from analysis.data.grid import conditions_of, keyed
from analysis.data.order import WORKLOADS, ordered, shown
from analysis.data.read import is_empty
from analysis.data.select import RowSelection, Selection, select
from analysis.data.source_location import source_of
from analysis.statistics.confounding import confound_notes, confounded
from analysis.statistics.replication import launch_notes
from analysis.tables.cells import TableCell, mean_cell, ratio_cell
from analysis.tables.diffusion_table import diffusion_table, split_diffusion
from analysis.tables.table import Table
from catalog.errors import BadFile, UnknownName
from perfmodel import reference
from perfmodel.a100_study import CONCURRENCIES

HEADINGS = {"tp": "TP", "ep": "EP", "tp+ep": "Hybrid", "single": "Single GPU"}
WORKLOAD_HEADINGS = {
    "decode-heavy": "Decode",
    "prefill-heavy": "Prefill",
    "balanced": "Balanced",
}

NOT_LIKE_FOR_LIKE = "not the paper's conditions, so its numbers are no like for like"


def throughput(chosen: Selection, *, level: float = 0.95) -> Table:
    """Table IV: mean throughput by model and strategy, and EP as a percentage of TP."""
    table = _by_strategy(chosen, "output_throughput", level)
    made = replace(
        table, number="IV", title="Mean throughput by model and strategy", unit="tokens/s"
    )
    with_paper = _beside(
        made, reference.values("parallelism_table4_throughput", ("model", "strategy"), _TOK_S)
    )
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
    return _beside(
        made, reference.values("parallelism_table5_per_gpu", key, "throughput_per_gpu_tok_s")
    )


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
        notes=_unlike_arms(rows),
    )
    key = ("model", "workload")
    return _beside(
        table, reference.values("parallelism_table6_ep_over_tp", key, "ep_over_tp_percent")
    )


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
        notes=(
            *_uneven(rows),
            *_unlike_arms(rows),
            *launch_notes(rows, [name for name in ("_condition",) if name in rows]),
            *_other_conditions(rows),
        ),
    )


def _percent(rows: pd.DataFrame, level: float) -> TableCell:
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


def _unlike_arms(rows: pd.DataFrame) -> tuple[str, ...]:
    """Name what strategies that stand side by side differ in besides."""
    names = [str(name) for name in ordered(rows["strategy"])]
    by = ("model", *conditions_of(rows))
    return confound_notes(confounded(rows, names[0], by)) if len(names) > 1 else ()


def _other_conditions(rows: pd.DataFrame) -> tuple[str, ...]:
    """Say when the means are over other conditions than the paper's, which its numbers rest on."""
    differences = []
    for column, published in (("workload", WORKLOADS), ("max_concurrency", CONCURRENCIES)):
        if column in rows and set(rows[column]) != set(published):
            here = ", ".join(shown(level) for level in ordered(rows[column].dropna())[:8])
            differences.append(f"{column} {here}")
    if not differences:
        return ()
    listed = "; ".join(differences)
    return (f"{NOT_LIKE_FOR_LIKE}: {listed}",)


def _uneven(rows: pd.DataFrame) -> tuple[str, ...]:
    """Say where strategies are averaged over different conditions."""
    notes = []
    for model, here in rows.groupby("model"):
        counts = {
            str(strategy): len(there[conditions_of(there)].drop_duplicates())
            for strategy, there in here.groupby("strategy")
        }
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{s} {n}" for s, n in counts.items())
            notes.append(f"{model}: means are over different conditions ({listed})")
    return tuple(notes)


@dataclass(frozen=True, slots=True)
class TableKind:
    """How a table is made and what it needs."""

    make: Callable[..., Table]
    response: str
    factors: tuple[str, ...]


TABLES: dict[str, TableKind] = {
    "IV": TableKind(throughput, "output_throughput", ("model", "strategy")),
    "V": TableKind(per_gpu, "output_throughput_per_gpu", ("model", "strategy")),
    "VI": TableKind(ep_over_tp, "output_throughput", ("model", "strategy", "workload")),
    "VII": TableKind(diffusion_table, "output_throughput", ("model", "steps", "generation_length")),
}


def tables(
    frame: pd.DataFrame,
    numbers: tuple[str, ...] = (),
    *,
    level: float = 0.95,
    pooling: Pooling = NOTHING_SAID,
    **selected: Unpack[RowSelection],
) -> list[Table]:
    """Make the tables asked for, or all that the columns allow.

    Rows of different conditions stand in lines of their own, `A · H100`; loads that were not
    reached count as those that were in flight, or `as_asked` as they do in the paper.
    """
    for number in numbers:
        if number.upper() not in TABLES:
            raise UnknownName("table", number, TABLES)
    made = []
    diffusion, serving = split_diffusion(frame)
    for number in numbers or TABLES:
        kind = TABLES[number.upper()]
        rows = diffusion if number.upper() == "VII" else serving
        if not numbers and not _has(rows, kind):
            continue
        if rows.empty:
            raise BadFile(source_of(frame), f"has no runs for table {number.upper()}")
        chosen = select(
            rows,
            response=kind.response,
            factors=kind.factors,
            **selected,
        )
        made.append(_made(kind, chosen, pooling, level))
    if not made:
        rows = serving if len(serving) else frame
        require(rows, ["model", "strategy", "output_throughput"])
        raise BadFile(source_of(rows), "no run says its output_throughput: nothing to tabulate")
    return made


def _has(rows: pd.DataFrame, kind: TableKind) -> bool:
    """Whether rows hold what a table needs; a server's GPUs may be known to nobody."""
    there = {kind.response, *kind.factors} <= set(rows) and not rows.empty
    return there and not is_empty(rows[kind.response])


def _made(kind: TableKind, chosen: Selection, pooling: Pooling, level: float) -> Table:
    """One table, its rows of different conditions in lines of their own."""
    own = () if "strategy" in kind.factors else kind.factors
    names = kept_apart(chosen.frame.drop(columns=kind.response), pooling, within=own)
    rows = keyed(labelled(chosen.frame, "model", names), pool=pooling.pool)
    notes = (*chosen.notes, *said_apart(chosen.frame, names, "each has a line of its own"))
    table = kind.make(replace(chosen, frame=rows), level=level)
    return replace(table, notes=tuple(dict.fromkeys((*table.notes, *notes))))
