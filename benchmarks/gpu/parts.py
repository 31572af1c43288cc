"""The parts of the hour in the order of their worth, and how long each may take."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """A module with `measure`, run in a process of its own."""

    module: str
    limit_s: float


PARTS = (
    Part("devices", 30.0),
    Part("experts", 110.0),
    Part("diffusion", 90.0),
    Part("offloading", 50.0),
    Part("quantised", 60.0),
    Part("load_generator", 50.0),
    Part("serving", 120.0),
)
TOTAL_S = 450.0
"""Of all parts together, whose limits add up to more: with start and end, eight minutes."""
