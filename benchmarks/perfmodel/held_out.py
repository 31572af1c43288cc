"""Points that no constant was fitted to: how far the estimate is off, and whether the bounds hold.

    python benchmarks/perfmodel/held_out.py [CALIBRATION]

`held_out.csv` and, looked up after it, `held_out_2026.csv` beside this file: measurements of vLLM,
of models, GPUs and layouts beyond those in `perfmodel/data/published_vllm.csv`, with the address of
each. Prints each with the factors of estimated over measured (`!` outside of the 90 % bounds that
`moeserve estimate` would give), then by group the median, half and nine in ten, and the share
within the bounds. Nothing here is fitted.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from catalog.errors import MoeserveError
from perfmodel.arrays import FloatArray
from perfmodel.constants import VLLM_2026, calibration
from perfmodel.fitted_error import Asked
from perfmodel.known_error import WORDS, known_error
from perfmodel.published import FIGURES, Point, estimate, log_error, model_of, read_points
from perfmodel.published_pairs import own_config
from strategies import parse_layout
from strategies.own_gpus import find_gpu

TABLES = tuple(Path(__file__).parent / f"{name}.csv" for name in ("held_out", "held_out_2026"))


def points(table: Path) -> tuple[Point, ...]:
    return tuple(
        msgspec.structs.replace(each, model=own_config(each.model))
        for each in read_points(table.read_text())
    )


def named(point: Point) -> str:
    return Path(point.model).name.removesuffix("_config.json")


def log_factors(point: Point, name: str) -> tuple[FloatArray, bool]:
    """The logarithms of the 90 % factors of a point, and whether it is like what was compared."""
    known = known_error(name)
    assert known is not None
    layout, gpu = parse_layout(point.layout), find_gpu(point.gpu)
    asked = Asked(
        total_params=model_of(point).total_params,
        input_len=point.input_len,
        output_len=point.output_len,
        in_flight=min(point.concurrency, point.num_prompts),
    )
    factors = known.factors(layout, gpu, asked)
    return np.log([factors[each] for each in FIGURES]), not known.outside(layout, gpu, asked)


def told(name: str, errors: FloatArray, bounds: FloatArray) -> str:
    """A group in a line: what a source does not print is in none of its figures."""
    parts = [f"{name:28} n {len(errors):3}"]
    for figure, column, bound in zip(FIGURES, errors.T, bounds.T, strict=True):
        printed = ~np.isnan(column)
        if not printed.any():
            continue
        off = np.abs(column[printed])
        half, most = np.exp(np.quantile(off, [0.5, 0.9]))
        held = np.mean(off <= bound[printed])
        middle = np.exp(np.median(column[printed]))
        few = f" of {len(off)}" if len(off) < len(errors) else ""
        told = f"{middle:.2f} · {half:.2f} · {most:.2f}{few}, {held:.0%} held"
        parts.append(f"{WORDS[figure]} {told}")
    return "   ".join(parts)


def report(table: Path, name: str) -> None:
    rows, errors, bounds, alike = [], [], [], []
    for point in points(table):
        try:
            error = log_error(point, estimate(point, calibration(name)))
        except MoeserveError as wrong:
            print(f"not estimated: {point.model} {point.gpu} {point.layout}: {wrong}")
            continue
        bound, inside = log_factors(point, name)
        rows.append(point)
        errors.append(error)
        bounds.append(bound)
        alike.append("like what was compared" if inside else "away from it")
        marks = " ".join(
            f"{np.exp(each):5.2f}{'!' if abs(each) > most else ' '}"
            for each, most in zip(error, bound, strict=True)
        )
        print(
            f"{marks} {named(point)} {point.gpu} {point.layout} {point.technique} "
            f"{point.input_len}:{point.output_len} at {point.concurrency} ({point.source})"
        )
    every, most = np.array(errors), np.array(bounds)
    print(told(f"all of {table.name}", every, most))
    groups: tuple[Callable[[int], str], ...] = (
        lambda at: rows[at].source,
        lambda at: named(rows[at]),
        lambda at: rows[at].gpu,
        lambda at: alike[at],
    )
    for group in groups:
        for value in sorted({group(at) for at in range(len(rows))}):
            chosen = [at for at in range(len(rows)) if group(at) == value]
            print(told(value, every[chosen], most[chosen]))


def main(words: Sequence[str]) -> None:
    for table in TABLES:
        report(table, words[0] if words else VLLM_2026.name)


if __name__ == "__main__":
    main(sys.argv[1:])
