"""Whether this device shows what the paper found on an A100, with the numbers.

The findings are the key takeaways of «The Cost of Expertise: Understanding MoE Decode Performance»
(EuroMLSys 2026, DOI 10.1145/3805621.3807659), sections 4.1.1, 4.1.2 and 4.2; the plateau of section
4.1.1, and what section 4.2 proposes: steps of tokens whose routing is alike.
"""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from microbench.rows import PointRow
from microbench.slices import along, by_backend, median_ms, timed

FindingVerdict = Literal["confirmed", "contradicted", "mixed", "not tested"]

STRAIGHT = 0.10
"""A line is straight when no point lies further from it, as a share of the point."""
GROWS = 0.5
"""Latency scales with width when its ratio is at least this share of the widths' ratio."""
STANDS_STILL = 0.10
"""Growth of a plateau at most: two narrow widths that take the same launches and overheads."""
APART = 0.05
"""Two values that differ by less count as equal."""
MOST = 0.8
"""Share of the slices that must show a finding for it to hold."""
FROM_MEMORY = 0.5
"""Growth is memory's when reading the weights takes this share of the time with most experts."""

WIDTH = "1: latency grows about linearly with expert width"
BATCHING = "2: batching gains less with wider experts"
ACTIVE = "3: more active experts cost time, through memory"
PLATEAU = "4: at the smallest batch time stands still between the narrowest widths"
GROUPING = "5: tokens that share their experts are faster as a step of their own"


class Finding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the paper's findings for one backend."""

    finding: str
    backend: str
    verdict: FindingVerdict
    holds: int
    slices: int
    numbers: str


@dataclass(frozen=True, slots=True)
class SliceResult:
    """One slice: whether it shows the finding, and the two numbers that say so."""

    holds: bool
    first: float
    second: float


def findings(rows: Sequence[PointRow]) -> list[Finding]:
    """Check each finding for each backend."""
    return [
        check(name, own)
        for check in (_width, _batching, _active, _plateau, _grouping)
        for name, own in by_backend(rows).items()
    ]


def _width(backend: str, rows: Sequence[PointRow]) -> Finding:
    """The paper's own ratio is 8.25 for 12 times the width, at batch 128."""
    shown = [_straight(each) for each in along(rows, "intermediate", least=3)]
    return _finding(
        WIDTH,
        backend,
        shown,
        "latency ratio over width ratio {0} (A100 study: 0.69); furthest from a line {1:%}",
    )


def _straight(rows: Sequence[PointRow]) -> SliceResult:
    x = np.array([row.intermediate for row in rows], dtype=np.float64)
    t = np.array([median_ms(row) for row in rows])
    slope, intercept = np.polyfit(x, t, 1, w=1 / t)
    off = float(np.abs((intercept + slope * x) / t - 1).max())
    share = float(t[-1] / t[0] / (x[-1] / x[0]))
    return SliceResult(off <= STRAIGHT and share >= GROWS, share, off)


def _batching(backend: str, rows: Sequence[PointRow]) -> Finding:
    """Gain: time a token in the smallest batch over that in the largest."""
    narrow_to_wide: dict[tuple[object, ...], list[tuple[int, float]]] = {}
    for members in along(rows, "batch", least=2):
        first, last = members[0], members[-1]
        gain = median_ms(first) / first.batch / (median_ms(last) / last.batch)
        model = (first.dtype, first.hidden, first.experts, first.active_experts, first.top_k)
        ends = (first.batch, last.batch)
        narrow_to_wide.setdefault((*model, *ends), []).append((first.intermediate, gain))
    pairs = [sorted(gains) for gains in narrow_to_wide.values() if len(gains) > 1]
    shown = [
        SliceResult(gains[-1][1] < gains[0][1] * (1 - APART), gains[0][1], gains[-1][1])
        for gains in pairs
    ]
    return _finding(
        BATCHING, backend, shown, "time a token falls {0} times at the narrowest, {1} at the widest"
    )


def _active(backend: str, rows: Sequence[PointRow]) -> Finding:
    """The same tokens and operations over more experts: only the bytes differ.

    Weights that stay in a cache tell nothing of the memory, whatever the time does.
    """
    from_memory = [row for row in rows if not row.cached]
    shown = [_growth(each) for each in along(from_memory, "active_experts", least=2)]
    return _finding(
        ACTIVE,
        backend,
        shown,
        "latency ratio {0}; reading weights is {1:%} of the time with most experts active",
    )


def _growth(rows: Sequence[PointRow]) -> SliceResult:
    times = [median_ms(row) for row in rows]
    rising = all(b >= a * (1 - APART) for a, b in itertools.pairwise(times))
    ratio = times[-1] / times[0]
    share = rows[-1].bandwidth_share or 0.0
    return SliceResult(rising and ratio > 1 + APART and share >= FROM_MEMORY, ratio, share)


def _plateau(backend: str, rows: Sequence[PointRow]) -> Finding:
    """The paper's is from width 512 to 1024 at batch 8."""
    smallest = min((row.batch for row in timed(rows)), default=0)
    shown = []
    for members in along(rows, "intermediate", least=2):
        first, second, *_ = members
        if first.batch == smallest:
            ratio = median_ms(second) / median_ms(first)
            shown.append(
                SliceResult(
                    ratio <= 1 + STANDS_STILL, ratio, second.intermediate / first.intermediate
                )
            )
    return _finding(PLATEAU, backend, shown, "latency ratio {0} for {1} times the width")


def _grouping(backend: str, rows: Sequence[PointRow]) -> Finding:
    """A batch cut into n steps by experts, each of its own 1/n of them, or cut at random.

    Only measured steps count: b tokens over a experts, b over n a, and n b over n a.
    """
    at = {_sizes(row): median_ms(row) for row in timed(rows)}
    shown = []
    for row in timed(rows):
        for whole in timed(rows):
            n = whole.batch // row.batch
            alike = _sizes(row)[2:] == _sizes(whole)[2:]
            cut = (row.batch * n, row.active_experts * n) == _sizes(whole)[:2]
            at_random = at.get((row.batch, whole.active_experts, *_sizes(row)[2:]))
            if n > 1 and alike and cut and at_random is not None:
                own = median_ms(row)
                shown.append(
                    SliceResult(
                        own < at_random * (1 - APART), at_random / own, n * own / median_ms(whole)
                    )
                )
    return _finding(
        GROUPING,
        backend,
        shown,
        "a step cut at random takes {0} times as long; all steps so cut take {1} times the whole "
        "batch's one",
    )


def _sizes(row: PointRow) -> tuple[object, ...]:
    return (
        row.batch, row.active_experts, row.dtype, row.hidden, row.intermediate, row.experts,
        row.top_k,
    )  # fmt: skip


def _finding(what: str, backend: str, shown: Sequence[SliceResult], numbers: str) -> Finding:
    if not shown:
        needs = "not enough values of the sizes it is about, or weights that stay in a cache"
        return Finding(
            finding=what, backend=backend, verdict="not tested", holds=0, slices=0, numbers=needs
        )
    holds = sum(each.holds for each in shown)
    return Finding(
        finding=what,
        backend=backend,
        verdict=_verdict(holds / len(shown)),
        holds=holds,
        slices=len(shown),
        numbers=numbers.format(
            _Range([each.first for each in shown]), _Range([each.second for each in shown])
        ),
    )


def _verdict(share: float) -> FindingVerdict:
    if share >= MOST:
        return "confirmed"
    return "contradicted" if share <= 1 - MOST else "mixed"


class _Range:
    """A median with the range around it, as text."""

    def __init__(self, values: Sequence[float]) -> None:
        self._values = (statistics.median(values), min(values), max(values))

    def __format__(self, spec: str) -> str:
        form = "{:.0%} ({:.0%} to {:.0%})" if spec == "%" else "{:.2f} ({:.2f} to {:.2f})"
        return form.format(*self._values)
