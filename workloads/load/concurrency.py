"""Load points: concurrency levels and request rates as a user writes them."""

import math
import re
from collections.abc import Iterator

from catalog.errors import BadValue

ALLOWED_LEVELS = (
    "whole numbers of at least 1: a list (1,4,8), or a range from low to high that doubles "
    "(1..128), multiplies (4..64:x4) or adds (1..9:+2)"
)
ALLOWED_RATES = (
    "requests per second above 0: a list such as 0.5,2,4; what other tools call inf is a closed "
    "loop: --concurrency without a rate"
)
HIGHEST_LEVEL = 1_000_000
MOST_LEVELS = 1_000


def parse_levels(text: str) -> tuple[int, ...]:
    """Read concurrency levels; the result is sorted and has no level twice.

    >>> parse_levels("1..6")
    (1, 2, 4, 6)
    """
    levels: set[int] = set()
    for part in text.split(","):
        levels.update(_levels(part.strip(), text))
        if len(levels) > MOST_LEVELS:
            raise BadValue("concurrency", text, f"at most {MOST_LEVELS} levels")
    return tuple(sorted(levels))


def _levels(part: str, text: str) -> Iterator[int]:
    match = re.fullmatch(r"(\d{1,9})(?:\.\.(\d{1,9})(?::([x+])(\d{1,9}))?)?", part, re.ASCII)
    if match is None:
        raise BadValue("concurrency", text, ALLOWED_LEVELS)
    low = int(match[1])
    high = int(match[2]) if match[2] else low
    operator, operand = match[3] or "x", int(match[4] or 2)
    smallest = 2 if operator == "x" else 1
    if not 1 <= low <= high <= HIGHEST_LEVEL or operand < smallest:
        raise BadValue("concurrency", text, f"{ALLOWED_LEVELS}, at most {HIGHEST_LEVEL:,}")
    return _range(low, high, operator, operand)


def _range(low: int, high: int, operator: str, operand: int) -> Iterator[int]:
    level = low
    # One level beyond the most is enough for the caller to refuse a range of millions.
    for _ in range(MOST_LEVELS + 1):
        if level >= high:
            break
        yield level
        level = level * operand if operator == "x" else level + operand
    yield high


def parse_rates(text: str) -> tuple[float, ...]:
    """Read request rates in requests per second; the result is sorted and has no rate twice."""
    rates = {_rate(part.strip(), text) for part in text.split(",")}
    return tuple(sorted(rates))


def _rate(part: str, text: str) -> float:
    try:
        rate = float(part)
    except ValueError:
        raise BadValue("request rate", text, ALLOWED_RATES) from None
    if not 0 < rate < math.inf:
        raise BadValue("request rate", text, ALLOWED_RATES)
    return rate
