"""Published measurements of real servers as cases, each source left out in turn.

Options are compared where one source measured several layouts of one engine version under the same
load. Features are those of the analytic model, as everywhere.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from analysis.predict.cases import Cases, TextArray, joined
from analysis.predict.evaluate import held_out
from analysis.predict.methods import METHODS
from analysis.predict.objective import OBJECTIVES, ObjectiveName
from analysis.predict.read import read_cases
from analysis.predict.scores import summary
from catalog.errors import BadFile, BadValue
from orchestrator.results.record import Row
from perfmodel.constants import Constants
from perfmodel.published import Point, model_of, published_points
from perfmodel.published_pairs import Pair, published_pairs

SPLIT = "leave-one-source-out"
TIE = 0.05
"""Share of the best within which a published option is as good: as much as one layout under one
load moves from day to day."""


@dataclass(frozen=True, slots=True)
class Field:
    """Published cases, and the source of each option."""

    cases: Cases
    source: TextArray


def field_cases(objective: ObjectiveName, constants: Constants | None = None) -> Field:
    """Read the shipped measurements; BadValue for goodput, which none of them tells."""
    if objective == "goodput":
        others = ", ".join(name for name in OBJECTIVES if name != objective)
        raise BadValue("objective", objective, f"{others}: no published measurement gives goodput")
    parts, sources = [], []
    for (source, _), rows in _rows().items():
        try:
            part = read_cases(pd.DataFrame(rows), objective=objective, constants=constants, tie=TIE)
        except BadFile:  # one layout a load
            continue
        parts.append(part)
        sources.append(np.full(len(part.value), source))
    return Field(joined(parts), np.concatenate(sources))


def _rows() -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Run-table rows of each source and engine version."""
    rows = defaultdict[tuple[str, str], list[dict[str, Any]]](list)
    for point in published_points():
        rows[point.source, f"vllm {point.engine_version}"].append(_row(point, point.output_tps))
    for pair in published_pairs():
        if pair.tps_a and pair.tps_b and not _told(pair, rows):
            key = (pair.source, f"{pair.engine} {pair.engine_version}")
            both = ((pair.layout_a, pair.tps_a), (pair.layout_b, pair.tps_b))
            rows[key] += [_row(pair.point(name), found, pair.model) for name, found in both]
    return rows


def _told(pair: Pair, rows: dict[tuple[str, str], list[dict[str, Any]]]) -> bool:
    """Whether the points hold the pair already."""
    known = rows[pair.source, f"{pair.engine} {pair.engine_version}"]
    own = [_row(pair.point(each), 1.0, pair.model) for each in (pair.layout_a, pair.layout_b)]
    return all(any(_same(each, row) for row in known) for each in own)


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one[name] == other[name] for name in _CONDITION)


_CONDITION = (
    "model", "strategy", "gpu_type", "input_len", "output_len", "max_concurrency",
)  # fmt: skip


def _row(point: Point, throughput: float, name: str = "") -> dict[str, Any]:
    technique = f" {point.technique}" if point.technique else ""
    return {
        "provenance": "imported",
        "model": (name or point.model) + technique,
        "strategy": point.layout,
        "gpu_type": point.gpu,
        "input_len": point.input_len,
        "output_len": point.output_len,
        "num_prompts": point.num_prompts,
        "max_concurrency": point.concurrency,
        "output_throughput": throughput,
        "architecture": msgspec.json.encode(model_of(point)).decode(),
    }


def evaluate_field(field: Field, *, seed: int = 0) -> Iterator[Row]:
    """Yield each method's choices among published options, by what other sources taught it."""
    cases, names = field.cases, np.unique(field.source)
    masks = [field.source == name for name in names]
    judged = {name: held_out(cases, masks, name, seed=seed) for name in METHODS}
    baseline = float(judged["majority"].correct.mean())
    for name, outcome in judged.items():
        yield {
            "split": SPLIT,
            "provenance": "imported",
            "method": name,
            **summary(outcome),
            "majority_baseline": baseline,
        }
