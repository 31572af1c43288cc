"""Goodput: requests that meet every service-level objective (SLO)."""

import math
import re
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from catalog.errors import BadValue

NAMES = ("ttft", "tpot", "e2el")
ALLOWED = (
    "NAME:MILLISECONDS with NAME one of ttft, tpot, e2el, each at most once (ttft:200 tpot:50), or "
    "of one class of a mix (chat.ttft:200)"
)
Z_95 = 1.959963984540054


def parse_goodput(texts: Iterable[str]) -> dict[str, float]:
    """Read SLOs in vLLM's syntax; the bounds are milliseconds, since the names' `_ms` are.

    `CLASS.NAME` is of the requests of one class, instead of the limit `NAME` of all others.
    """
    slos: dict[str, float] = {}
    for text in texts:
        for part in re.split(r"[\s,]+", text.strip()):
            name, _, bound = part.partition(":")
            if name.rpartition(".")[2] not in NAMES or name in slos or name.startswith("."):
                raise BadValue("goodput", text, ALLOWED)
            slos[name] = _bound_ms(bound, text)
    return slos


def _bound_ms(bound: str, text: str) -> float:
    try:
        bound_ms = float(bound)
    except ValueError:
        raise BadValue("goodput", text, ALLOWED) from None
    if not 0 < bound_ms < math.inf:
        raise BadValue("goodput", text, ALLOWED)
    return bound_ms


def classes_of(slos: Mapping[str, float]) -> list[str]:
    """Return the classes that have limits of their own."""
    return list(dict.fromkeys(name.rpartition(".")[0] for name in slos if "." in name))


def limits_of(part: str, slos: Mapping[str, float]) -> dict[str, float]:
    """Return the limits of one class: those of all, and its own before them."""
    own = {
        name.rpartition(".")[2]: bound
        for name, bound in slos.items()
        if "." in name and name.rpartition(".")[0] == part
    }
    return {**{name: bound for name, bound in slos.items() if "." not in name}, **own}


def good(latencies_ms: Mapping[str, NDArray[np.float64]], slos: Mapping[str, float]) -> int:
    """Count the requests whose every latency is within its bound (an undefined TPOT is)."""
    first = next(iter(latencies_ms.values()))
    met = np.ones(len(first), bool)
    for name, bound_ms in slos.items():
        met &= ~(latencies_ms[name] > bound_ms)
    return int(met.sum())


def wilson_interval(successes: int, trials: int, *, z: float = Z_95) -> tuple[float, float]:
    """Return Wilson's score interval of a share (95 % by default).

    (p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n), with p = successes/n
    (Wilson 1927, doi 10.1080/01621459.1927.10502953).
    """
    if trials == 0:
        return 0.0, 1.0
    share, weight = successes / trials, z * z / trials
    centre = share + weight / 2
    half = z * math.sqrt(share * (1 - share) / trials + weight / (4 * trials))
    low, high = (centre - half) / (1 + weight), (centre + half) / (1 + weight)
    return (0.0 if successes == 0 else low), (1.0 if successes == trials else high)
