"""The measured kernels that a step of one model in one layout on one kind of GPU can use."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from catalog.hardware import Gpu
from catalog.models import Model
from perfmodel.arrays import FloatArray
from perfmodel.kernel_tables.attention import AttentionTable
from perfmodel.kernel_tables.experts import LayerExperts
from perfmodel.kernel_tables.grid import Measured
from perfmodel.kernel_tables.products import ProductTable
from perfmodel.load import StepLoad
from strategies.layout import Layout

FORMULA, TABLE = "formula", "table"
PARTS = ("experts", "attention", "projections", "dense", "head", "all-reduce")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose step is to be priced."""

    model: Model
    layout: Layout
    gpu: Gpu
    kv_dtype: str | None
    skewed: bool | None
    """Whether experts are chosen unevenly, as tables have it; None leaves them to the formula."""


@dataclass(frozen=True, slots=True)
class KernelTime:
    """What a part takes by measured kernels in all layers, nan where it was not measured."""

    seconds: FloatArray
    launches: float
    """Of those that a step counts, how many lie within."""


@dataclass(slots=True)
class Tally:
    """How many of the loads that were asked for each part was measured at."""

    asked: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)

    def add(self, part: str, seconds: FloatArray) -> None:
        self.asked[part] += seconds.size
        self.found[part] += int(np.isfinite(seconds).sum())

    def __str__(self) -> str:
        """Each part with what priced it."""
        return ", ".join(f"{part} {self._by(part)}" for part in PARTS if self.asked[part])

    def _by(self, part: str) -> str:
        asked, found = self.asked[part], self.found[part]
        if found in (0, asked):
            return TABLE if found else FORMULA
        return f"{TABLE} {min(found / asked, 0.99):.0%}"


@dataclass(frozen=True, slots=True)
class Kernels:
    """Measured parts; what is None or missing is left to formulas."""

    name: str
    """Where they were measured, and by whom."""
    experts: LayerExperts | None = None
    attention: AttentionTable | None = None
    products: Mapping[str, ProductTable] = field(default_factory=dict)
    reduces: Measured | None = None
    own: bool = False
    """Whether a user measured them: no estimate by them was compared with anything."""
    tally: Tally = field(default_factory=Tally)

    @property
    def any(self) -> bool:
        """Whether there is a table for any part."""
        return bool(self.experts or self.attention or self.products or self.reduces)

    def named(self, name: str) -> "Kernels":
        return replace(self, name=name)

    def experts_time(self, tokens: float) -> KernelTime:
        if (part := self.experts) is None:
            return self._told("experts", np.array(np.nan), 0.0)
        seconds = part.layers * part.measured.at(tokens)
        return self._told("experts", seconds, part.layers * part.launches)

    def attention_time(self, load: StepLoad, ahead: FloatArray, *, ways: int) -> KernelTime:
        if self.attention is None:
            return self._told("attention", np.full(len(ahead), np.nan), 0.0)
        seconds = self.attention.seconds(load, ahead, ways=ways)
        return self._told("attention", seconds, self.attention.launches)

    def products_time(self, part: str, tokens: float) -> KernelTime:
        table = self.products.get(part)
        seconds = table.seconds(tokens) if table else np.nan
        return self._told(part, np.array(seconds), table.launches if table else 0.0)

    def reduce_s(self, size_bytes: float) -> float:
        """One all-reduce; its launch is counted beside it."""
        seconds = np.array(np.nan) if self.reduces is None else self.reduces.at(size_bytes)
        return float(self._told("all-reduce", seconds, 0.0).seconds)

    def _told(self, part: str, seconds: FloatArray, launches: float) -> KernelTime:
        self.tally.add(part, seconds)
        return KernelTime(seconds, launches)
