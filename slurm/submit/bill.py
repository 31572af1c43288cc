"""What a submission costs: GPU-hours of its tasks, expected and at most, and their price."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from slurm.scheduler.parse import parse_duration
from slurm.submit.submission import ArraySpec

HOUR_S = 3600.0
TIME = "--time="


@dataclass(frozen=True, slots=True)
class Bill:
    """GPU-hours, and their price in US dollars; None where something of it is not known."""

    gpu_hours: float | None
    """As long as the tasks are expected to take."""
    max_gpu_hours: float | None
    """As long as their limits let them."""
    usd: float | None
    max_usd: float | None

    @property
    def told(self) -> str:
        """Both figures in one line; empty where no GPU is asked for."""
        if self.max_gpu_hours == 0:
            return ""
        expected = _amount(self.gpu_hours, self.usd)
        most = _amount(self.max_gpu_hours, self.max_usd)
        unpriced = (self.usd, self.max_usd) == (None, None)
        way = "; --price-per-hour says what they cost" if unpriced else ""
        return f"GPU-hours: {expected} expected, {most} at most by the time limits{way}"


def _amount(hours: float | None, usd: float | None) -> str:
    if hours is None:
        return "not known how many"
    return f"{hours:,.3g}" + ("" if usd is None else f" (${usd:,.2f})")


def bill_of(array: ArraySpec) -> Bill:
    """Return what an array costs: a task is billed for all its GPUs until its last group ends.

    hours = Σ_tasks GPUs · max_groups seconds / 3600
    """
    ends = [[spec.expected_s for spec in specs] for specs in array.by_index.values()]
    known = [[s for s in each if s is not None] for each in ends]
    whole = all(len(a) == len(b) for a, b in zip(ends, known, strict=True))
    hours = sum(map(max, known)) * array.gpus / HOUR_S if whole else None
    limit_s = _limit_s(array.arguments)
    most = None if limit_s is None else len(ends) * limit_s * array.gpus / HOUR_S
    if array.gpus == 0:
        hours = most = 0.0
    price = array.price_per_hour_usd if array.gpus else 0.0
    return Bill(hours, most, _times(hours, price), _times(most, price))


def total(bills: Iterable[Bill]) -> Bill:
    """Add bills up; what one of them does not know the sum does not."""
    listed = list(bills)
    return Bill(
        _sum([each.gpu_hours for each in listed]),
        _sum([each.max_gpu_hours for each in listed]),
        _sum([each.usd for each in listed]),
        _sum([each.max_usd for each in listed]),
    )


def _sum(values: Sequence[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    return sum(known) if len(known) == len(values) else None


def _times(hours: float | None, price: float | None) -> float | None:
    return None if hours is None or price is None else hours * price


def _limit_s(arguments: Sequence[str]) -> float | None:
    """Return the limit that Slurm takes, the last; None where it is the partition's own."""
    limits = [word.removeprefix(TIME) for word in arguments if word.startswith(TIME)]
    return parse_duration(limits[-1]) if limits else None
