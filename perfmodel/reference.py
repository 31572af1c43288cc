"""Tables that papers print, kept with the package so that every comparison names its source.

- `parallelism_*`: "Parallelism Strategies and Concurrency Effects for Mixture-of-Experts Inference
  on GPU Systems" (Hegde, Kumble, Gupta), tables III, IV, VI and section V.
- `qs_*`: "The qs Inequality" (arXiv 2603.08960), tables 3 to 6, in the paper's rounding.

Model names are those of the catalog.
"""

import csv
from importlib import resources

from catalog.errors import UnknownName

TABLES = (
    "parallelism_anova",
    "parallelism_points",
    "parallelism_table4_throughput",
    "parallelism_table6_ep_over_tp",
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
