"""Experts and top-k of the models whose routing the qs inequality's paper tabulates.

Their other sizes are not all published, so they have no row in the catalog of models: the active
fraction s = k / E needs none. Source of each: table 1 of "The qs Inequality: Quantifying the Double
Penalty of Mixture-of-Experts at Inference" (arXiv 2603.08960), and the paper it cites.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Routing:
    """How many of a layer's experts one token uses."""

    name: str
    experts: int
    top_k: int
    source: str

    @property
    def active_fraction(self) -> float:
        """s = k / E (eq. 9)."""
        return self.top_k / self.experts


ROUTINGS: dict[str, Routing] = {
    row.name: row
    for row in (
        Routing("DeepSpeed-MoE", 128, 1, "table 1; Rajbhandari et al. 2022, arXiv 2201.05596"),
        Routing("GLaM", 64, 2, "table 1; Du et al. 2022, arXiv 2112.06905"),
        Routing("GShard", 128, 2, "table 1; Lepikhin et al. 2020, arXiv 2006.16668"),
        Routing("Switch-C", 2048, 1, "table 1; Fedus et al. 2022, arXiv 2101.03961"),
        Routing("ST-MoE", 64, 2, "table 1; Zoph et al. 2022, arXiv 2202.08906"),
    )
}
