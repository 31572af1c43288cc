"""Tables that papers print, kept with the package so that every comparison names its source.

- `parallelism_*`: "Parallelism Strategies and Concurrency Effects for Mixture-of-Experts Inference
  on GPU Systems" (Hegde, Kumble, Gupta), tables III to VII, and single points and
  the one-way analyses of section V.
- `qs_*`: "The qs Inequality" (arXiv 2603.08960), tables 3 to 6, in the paper's rounding.

Model names are those of the catalog.
"""

import csv
from collections.abc import Sequence
from importlib import resources

from catalog.errors import UnknownName

PARALLELISM_STUDY = (
    "Hegde, Kumble, Gupta: Parallelism Strategies and Concurrency Effects for "
    "Mixture-of-Experts Inference on GPU Systems"
)
TABLES = (
    "parallelism_anova",
    "parallelism_points",
    "parallelism_table4_throughput",
    "parallelism_table5_per_gpu",
    "parallelism_table6_ep_over_tp",
    "parallelism_table7_diffusion",
    "parallelism_workloads",
    "qs_table3_capacity_reuse",
    "qs_table4_context",
    "qs_table5_attribution",
    "qs_table6_throughput",
)


def table(name: str) -> list[dict[str, str]]:
    """Return one table's rows as printed, every value as text."""
    if name not in TABLES:
        raise UnknownName("reference table", name, TABLES)
    text = (resources.files("perfmodel") / "data" / f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def values(name: str, keys: Sequence[str], column: str) -> dict[tuple[str, ...], float]:
    """Return one column of a table as numbers, by what identifies its rows."""
    return {tuple(row[key] for key in keys): float(row[column]) for row in table(name)}
