"""Pairs of layouts on the same GPUs, measured by one source in one run: what a ranking explains.

`data/published_pairs.csv`: tokens/s of both, and latency ratios of the second over the first; None
where a source does not give one. Engines other than vLLM are among them; their kernels are not
those modelled.
"""

import csv
from importlib.resources import files

import msgspec

from perfmodel.constants import Constants
from perfmodel.published import Point, estimate

OWN_CONFIGS = {"GLM-4.6": "glm_4_6_config.json"}
"""Models that the catalog lacks, with the keys of their configuration that set shapes."""


def own_config(model: str) -> str:
    """Return the path of a model's shipped configuration, if there is one, else its name."""
    own = OWN_CONFIGS.get(model)
    return str(files("perfmodel").joinpath("data", own)) if own else model


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Two layouts under one load; ratios are of b over a."""

    source: str
    source_url: str
    engine: str
    engine_version: str
    model: str
    gpu: str
    technique: str
    input_len: int
    output_len: int
    concurrency: int
    num_prompts: int
    layout_a: str
    layout_b: str
    tps_a: float | None
    tps_b: float | None
    tpot_b_over_a: float | None
    ttft_b_over_a: float | None

    @property
    def tps_b_over_a(self) -> float | None:
        return self.tps_b / self.tps_a if self.tps_a and self.tps_b else None

    @property
    def model_path(self) -> str:
        """What the catalog reads the model from: a name it knows, or a shipped configuration."""
        return own_config(self.model)

    def point(self, layout: str) -> Point:
        """The load on one of the two layouts, as a measurement whose figures are not known."""
        return Point(
            source=self.source,
            source_url=self.source_url,
            engine_version=self.engine_version,
            model=self.model_path,
            gpu=self.gpu,
            layout=layout,
            technique=self.technique,
            input_len=self.input_len,
            output_len=self.output_len,
            concurrency=self.concurrency,
            num_prompts=self.num_prompts,
            max_num_batched_tokens=None,
            max_num_seqs=None,
            output_tps=1.0,
            tps_from="reported",
            ttft_ms=None,
            tpot_ms=None,
            stat="mean",
        )


_OPTIONAL = ("tps_a", "tps_b", "tpot_b_over_a", "ttft_b_over_a")


def published_pairs() -> tuple[Pair, ...]:
    text = files("perfmodel").joinpath("data", "published_pairs.csv").read_text()
    return tuple(
        msgspec.convert(
            {name: value or None if name in _OPTIONAL else value for name, value in row.items()},
            Pair,
            strict=False,
        )
        for row in csv.DictReader(text.splitlines())
    )


def estimated_ratio(pair: Pair, constants: Constants) -> float:
    """Estimated output throughput of the second layout over that of the first."""
    a, b = (estimate(pair.point(each), constants) for each in (pair.layout_a, pair.layout_b))
    return b.output_throughput / a.output_throughput
