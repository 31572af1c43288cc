"""A mixture and its quality-matched dense twin on one cluster, each at its best partition.

As the qs paper's sections 4.4 to 6: both are searched by the same rules, compared in tokens a
second (its Tables 4 and 6), taken apart into memory, computing and exposed communication (Table 5),
and put on systems that differ in one thing (the last column of Table 2).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np

from catalog.errors import BadValue
from catalog.hardware import Gpu, Link
from catalog.models import Model
from perfmodel.autotune import Candidate, Goal, search
from perfmodel.constants import ROOFLINE, Constants
from perfmodel.decode import DecodeModel, Pricing
from perfmodel.memory import Conventions
from perfmodel.partition import Partitions
from perfmodel.twin import dense_twin

DEGREES = ("tp", "pp", "ep", "dp", "kvp", "cp")


class SystemChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A system beside a GPU's own datasheet: factors, and the share of communication hidden."""

    memory: float = 1.0
    """Of the GPU's memory."""
    bandwidth: float = 1.0
    """Of its bandwidth."""
    link: float = 1.0
    """Of the bandwidth of links."""
    start_up: float = 1.0
    """Of the links' latency, with which every message begins."""
    overlap: float = 0.0
    """Share of a phase's time under which its communication hides."""

    def __post_init__(self) -> None:
        for name in ("memory", "bandwidth", "link"):
            if not 0 < getattr(self, name) < float("inf"):
                raise BadValue(f"{name} factor", getattr(self, name), "above 0")
        if not 0 <= self.start_up < float("inf"):
            raise BadValue("start-up factor", self.start_up, "0 or more")
        if not 0 <= self.overlap <= 1:
            raise BadValue("overlap", self.overlap, "0 to 1")

    def gpu(self, gpu: Gpu) -> Gpu:
        """Return the GPU so changed."""
        return msgspec.structs.replace(
            gpu,
            memory_bytes=gpu.memory_bytes * self.memory,
            bandwidth_bytes_per_s=gpu.bandwidth_bytes_per_s * self.bandwidth,
            intra_node=self._link(gpu.intra_node),
            inter_node=self._link(gpu.inter_node),
        )

    def constants(self, constants: Constants) -> Constants:
        """Return constants with this overlap, under a name of their own."""
        if self.overlap == constants.overlap:
            return constants
        name = f"{constants.name}, overlap {self.overlap:g}"
        return msgspec.structs.replace(constants, name=name, overlap=self.overlap)

    def _link(self, link: Link | None) -> Link | None:
        if link is None:
            return None
        return msgspec.structs.replace(
            link,
            bandwidth_bytes_per_s=link.bandwidth_bytes_per_s * self.link,
            latency_s=link.latency_s * self.start_up,
        )


VARIED = (
    ("memory", 0.75), ("memory", 1.25), ("bandwidth", 0.75), ("bandwidth", 1.25),
    ("link", 448 / 900), ("start_up", 0.1), ("start_up", 10.0), ("overlap", 0.5), ("overlap", 1.0),
)  # fmt: skip
"""The qs paper's Table 2: ±25 %, 448 for 900 GB/s. It prints neither start-up times nor overlaps:
a tenth, ten times, half and all are ours."""


class Cluster(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is compared on: GPUs, their number, a context, and what the server takes."""

    gpu: Gpu
    gpus: int
    context: int
    usable_fraction: float = 0.9
    pricing: Constants = ROOFLINE

    def best(self, model: Model, change: SystemChange) -> Candidate:
        """Return a model's best partition; its `feasible` is False where none holds a sequence."""
        return search(
            model,
            change.gpu(self.gpu),
            self.gpus,
            goal=Goal(self.context),
            conventions=Conventions(usable_fraction=self.usable_fraction),
            pricing=Pricing(constants=change.constants(self.pricing)),
        )[0]


@dataclass(frozen=True, slots=True)
class Compared:
    """Both at their best on one system; `varied` says what differs from the reference."""

    varied: str
    value: float | None
    moe: Candidate
    dense: Candidate

    @property
    def speedup(self) -> float | None:
        """Tokens a second of the dense twin over the mixture's, where both fit."""
        moe, dense = self.moe.tokens_per_s, self.dense.tokens_per_s
        return dense / moe if moe and dense else None


def sensitivity(
    model: Model, quality: float, cluster: Cluster, reference: SystemChange
) -> Iterator[Compared]:
    """Yield the reference system, then each that differs from it in one thing."""
    twin = dense_twin(model, quality)
    for varied, value in (("reference", None), *VARIED):
        change = reference
        if value is not None:
            own = getattr(reference, varied) * value if varied != "overlap" else value
            change = msgspec.structs.replace(reference, **{varied: own})
        yield Compared(varied, value, cluster.best(model, change), cluster.best(twin, change))


@dataclass(frozen=True, slots=True)
class Attribution:
    """Seconds of a decode step by what takes them, over the sequences of its batch.

    Memory and computing are what each would take alone: the step takes the longer, phase by phase.
    """

    partition: Candidate
    hbm_s: float
    compute_s: float
    communication_s: float
    """Exposed."""


def attribution(model: Model, cluster: Cluster, change: SystemChange) -> Attribution | None:
    """Take a model's best decode step apart (the qs paper's Table 5); None where nothing fits."""
    best = cluster.best(model, change)
    if not best.feasible:
        return None
    parts = Partitions(*(np.array([float(getattr(best, name))]) for name in DEGREES))
    pricing = Pricing(constants=change.constants(cluster.pricing))
    decode = DecodeModel(model, parts, change.gpu(cluster.gpu), pricing)
    cost = decode.cost(np.array([float(best.batch)]), cluster.context)
    seconds = (cost.memory_s.sum(), cost.compute_s.sum(), cost.communication_s.sum())
    hbm_s, compute_s, communication_s = (float(each) / best.batch for each in seconds)
    return Attribution(best, hbm_s, compute_s, communication_s)
