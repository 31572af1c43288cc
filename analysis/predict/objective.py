"""What «best» means, and what options must share so that it compares them."""

from typing import Literal

from catalog.errors import BadValue
from catalog.hardware import Gpu
from strategies.layout import Layout

ObjectiveName = Literal["throughput", "throughput-per-gpu", "goodput", "price"]
OBJECTIVES: tuple[ObjectiveName, ...] = ("throughput", "throughput-per-gpu", "goodput", "price")
UNITS: dict[ObjectiveName, str] = {
    "throughput": "tokens/s",
    "throughput-per-gpu": "tokens/s/GPU",
    "goodput": "requests/s within the SLO",
    "price": "tokens/USD",
}
COLUMN: dict[ObjectiveName, str] = {
    "throughput": "output_throughput",
    "throughput-per-gpu": "output_throughput",
    "goodput": "request_goodput",
    "price": "output_throughput",
}
SAME: dict[ObjectiveName, tuple[str, ...]] = {
    "throughput": ("gpu_type", "num_gpus"),
    "goodput": ("gpu_type", "num_gpus"),
    "throughput-per-gpu": ("gpu_type",),
    "price": (),
}
"""Columns that the options of one case share beside model, traffic and load."""


def objective_of(text: str) -> ObjectiveName:
    for name in OBJECTIVES:
        if name == text:
            return name
    raise BadValue("objective", text, ", ".join(OBJECTIVES))


def per_throughput(objective: ObjectiveName, layout: Layout, gpu: Gpu) -> float:
    """The objective, larger is better, for each unit of its column."""
    if objective == "throughput-per-gpu":
        return 1.0 / layout.num_gpus
    if objective == "price":
        if gpu.price_per_hour_usd is None:
            raise BadValue("price", gpu.name, "a GPU whose price is known")
        return 3600.0 / (gpu.price_per_hour_usd * layout.num_gpus)
    return 1.0
