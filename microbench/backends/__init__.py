"""Implementations of the expert MLP by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from catalog.errors import BadValue, MissingExtra, UnknownName
from microbench.point import Point

LOOP, GROUPED, VLLM = "loop", "grouped", "vllm"
NAMES = (LOOP, GROUPED, VLLM)
VLLM_MULTIPLE = 32


@dataclass(frozen=True, slots=True)
class BackendSelection:
    """The backends that will run, and why others will not."""

    names: tuple[str, ...]
    left_out: tuple[str, ...]


def check(wanted: Sequence[str] | None) -> None:
    """Refuse names that do not exist or are not installed."""
    for name in wanted or ():
        if name not in NAMES:
            raise UnknownName("backend", name, NAMES)
        if name == VLLM and find_spec("vllm") is None:
            raise MissingExtra(f"backend {VLLM!r}", "vllm")


def choose(wanted: Sequence[str] | None, points: Sequence[Point]) -> BackendSelection:
    """Take what was asked for, or all that can run some point."""
    names, left_out = [], []
    for name in NAMES if wanted is None else dict.fromkeys(wanted):
        why = _not_installed(name) or _no_point(name, points)
        if why and wanted is not None:
            raise BadValue("backend", name, why)
        (left_out.append(f"{name} left out: {why}") if why else names.append(name))
    return BackendSelection(tuple(names), tuple(left_out))


def unsupported(name: str, point: Point) -> str:
    """Say why a backend cannot run a point; empty where it can."""
    if name == VLLM and (point.hidden % VLLM_MULTIPLE or point.intermediate % VLLM_MULTIPLE):
        return f"its kernels take hidden and intermediate sizes divisible by {VLLM_MULTIPLE}"
    return ""


def _not_installed(name: str) -> str:
    return "vLLM is not installed" if name == VLLM and find_spec("vllm") is None else ""


def _no_point(name: str, points: Sequence[Point]) -> str:
    reasons = [unsupported(name, point) for point in points]
    return reasons[0] if all(reasons) else ""
