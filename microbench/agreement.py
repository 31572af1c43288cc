"""Whether an implementation computes what the reference computes."""

import torch

TOLERANCE = {"float32": 1e-4, "float16": 5e-3, "bfloat16": 4e-2}
"""Largest difference allowed, over the reference's largest value.

Some units of rounding of the type (2^-24, 2^-11, 2^-8): sums are taken in other orders, and the
product between the two layers is rounded to the type by some kernels and kept wide by others.
"""


def disagreement(result: torch.Tensor, reference: torch.Tensor) -> float:
    """Largest absolute difference over the reference's largest absolute value."""
    largest = reference.abs().max().item()
    apart = (result.float() - reference.float()).abs().max().item()
    return float(apart / largest) if largest > 0 else float(apart)


def agrees(apart: float, dtype: str) -> bool:
    return apart <= TOLERANCE[dtype]
