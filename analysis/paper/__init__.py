"""The published numbers to put beside one's own.

«Parallelism Strategies and Concurrency Effects for Mixture-of-Experts Inference on GPU Systems»
(Hegde, Kumble, Gupta): Tables I to VII, the one-way analyses of section V-B, and single points
of the text and figures, as CSV files in this folder.
"""

import csv
from importlib.resources import files

CITATION = (
    "Hegde, Kumble, Gupta: Parallelism Strategies and Concurrency Effects for "
    "Mixture-of-Experts Inference on GPU Systems"
)
# Names of the paper that the catalog spells in another way.
CATALOG_NAMES = {"Qwen-MoE-A2.7B": "Qwen1.5-MoE-A2.7B"}

Key = tuple[str, ...]


def rows(name: str) -> list[dict[str, str]]:
    """Rows of one published table, for instance `table4_throughput`."""
    text = files(__package__).joinpath(f"parallelism_{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def values(name: str, keys: tuple[str, ...], column: str) -> dict[Key, float]:
    """One published column by its keys; models under their catalog names."""
    return {
        tuple(CATALOG_NAMES.get(row[key], row[key]) for key in keys): float(row[column])
        for row in rows(name)
    }
