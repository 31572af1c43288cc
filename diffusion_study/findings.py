"""What a characterisation shows: rows, dense over MoE, and time by steps."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from catalog.models import Model
from catalog.units import MS_PER_S
from diffusion_study.measure import CaseResults, experts_name
from orchestrator.results.record import ColumnValue, Row


def row_of(model: Model, measured: CaseResults, setting: Mapping[str, ColumnValue]) -> Row:
    """Return one row; its first columns are those every user of the command may rely on."""
    point, options = measured.case.point, measured.case.options
    latency_s = float(np.mean(measured.latencies_s))
    passes = float(np.mean([len(each) for each in measured.passes_s]))
    several = len(measured.latencies_s) > 1
    return {
        "model": model.name,
        "kind": "moe" if model.experts else "dense",
        "steps": point.steps,
        "generation_length": point.length,
        "experts_implementation": experts_name(model, options),
        "mean_latency_s": latency_s,
        "tokens_per_s": point.length / latency_s,
        "sweep": point.sweep,
        "block_length": min(options.block_length, point.length),
        "kv_cache": options.kv_cache,
        "commit_above": options.commit_above,
        "std_latency_s": float(np.std(measured.latencies_s, ddof=1)) if several else None,
        "forward_passes": passes,
        "median_pass_ms": float(np.median(np.concatenate(measured.passes_s))) * MS_PER_S,
        "operations_per_pass": measured.answers[0].operations,
        "agreement": float(np.mean(measured.agreements)) if measured.agreements else None,
        "active_params": model.active_params,
        "total_params": model.total_params,
        **setting,
        "dense_over_moe": None,
        "dense_active_params": None,
    }


def with_ratios(rows: Sequence[Row]) -> list[Row]:
    """Add to each MoE row how many times faster the dense model is at the same point.

    The dense model is the one whose active parameters are nearest; it decodes the same way.
    """
    dense = [row for row in rows if row["kind"] == "dense"]
    return [_with_ratio(row, dense) if row["kind"] == "moe" else row for row in rows]


SAME = ("steps", "generation_length", "sweep", "kv_cache", "commit_above")


def _with_ratio(row: Row, dense: Iterable[Row]) -> Row:
    alike = [each for each in dense if all(each[name] == row[name] for name in SAME)]
    if not alike:
        return row
    active = number(row, "active_params")
    nearest = min(alike, key=lambda each: abs(np.log(number(each, "active_params") / active)))
    return {
        **row,
        "dense_over_moe": usual_ms(row) / usual_ms(nearest),
        "dense_active_params": nearest["active_params"],
    }


def usual_ms(row: Row) -> float:
    """Return an answer's latency as passes times the median pass, which no disturbance moves."""
    return number(row, "forward_passes") * number(row, "median_pass_ms")


def number(row: Row, name: str) -> float:
    value = row[name]
    assert isinstance(value, int | float)
    return value


@dataclass(frozen=True, slots=True)
class Ratio:
    """Dense over MoE in one experts implementation, over all points."""

    model: str
    experts: str
    mean: float
    """Geometric."""
    least: float
    most: float
    active: float
    """Active parameters of the dense model over the MoE's."""

    def __str__(self) -> str:
        return (
            f"{self.model}, experts {self.experts}: the dense model is {self.mean:.2f} times as "
            f"fast ({self.least:.2f} to {self.most:.2f}) at {self.active:.2f} times the active "
            "parameters"
        )


def ratios(rows: Sequence[Row]) -> list[Ratio]:
    """Summarise the plain decoder's ratios by model and experts implementation."""
    plain = [
        row
        for row in rows
        if row["dense_over_moe"] and row["kv_cache"] == "none" and row["commit_above"] is None
    ]
    keys = dict.fromkeys((str(r["model"]), str(r["experts_implementation"])) for r in plain)
    found = []
    for model, experts in keys:
        selected = [
            r for r in plain if (r["model"], r["experts_implementation"]) == (model, experts)
        ]
        each = [number(row, "dense_over_moe") for row in selected]
        active = number(selected[0], "dense_active_params") / number(selected[0], "active_params")
        mean = float(np.exp(np.mean(np.log(each))))
        found.append(Ratio(model, experts, mean, min(each), max(each), active))
    return found


def steps_spread(rows: Sequence[Row]) -> dict[tuple[str, str], float]:
    """Return by model and experts how much tok/s · steps varies over the steps at one length.

    From passes times the median pass.
    (max - min) / mean of the product; 0 is exact inverse proportionality. Table VII has 0.02.
    """
    products: dict[tuple[str, str], dict[float, list[float]]] = {}
    for row in rows:
        if row["kv_cache"] == "none" and row["commit_above"] is None:
            key = (str(row["model"]), str(row["experts_implementation"]))
            at = products.setdefault(key, {})
            length = number(row, "generation_length")
            at.setdefault(length, []).append(length / usual_ms(row) * number(row, "steps"))
    return {
        key: max((max(v) - min(v)) / float(np.mean(v)) for v in lengths.values())
        for key, lengths in products.items()
        if any(len(v) > 1 for v in lengths.values())
    }


def verdict(found: Sequence[Ratio]) -> str:
    """Answer whether the gap is the architecture's or the loop's, from these numbers alone."""
    by_model: dict[str, dict[str, Ratio]] = {}
    for each in found:
        by_model.setdefault(each.model, {})[each.experts] = each
    sentences = []
    for model, ratio in by_model.items():
        best = min(ratio.values(), key=lambda each: each.mean)
        if "loop" not in ratio or best.experts == "loop":
            continue
        if ratio["loop"].least <= best.most:
            sentences.append(
                f"{model}: the dense model is {ratio['loop'].least:.2f} times as fast and more "
                f"with a loop over experts, up to {best.most:.2f} with {best.experts} products: "
                "these overlap, so what the loop costs is not shown"
            )
            continue
        share = ratio["loop"].mean / best.mean
        sentences.append(
            f"{model}: with a loop over experts the dense model is {ratio['loop'].mean:.2f} times "
            f"as fast, with {best.experts} products {best.mean:.2f} times; so the loop costs a "
            f"factor of {share:.2f} here, and {best.mean:.2f} is left to all else, which is not "
            "told apart: routing, small products, reading the weights of all experts"
        )
    return "; ".join(sentences)
