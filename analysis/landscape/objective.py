"""What is to be small or large, and by how much which matters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from catalog.errors import BadValue

QUALITY = "quality"
PERPLEXITY = "perplexity"


@dataclass(frozen=True, slots=True)
class Objective:
    """One column to minimise or maximise."""

    column: str
    maximise: bool
    weight: float = 1.0

    @property
    def text(self) -> str:
        return f"{'largest' if self.maximise else 'smallest'} {self.column}"


def parse_objectives(
    minimise: Sequence[str], maximise: Sequence[str], *, weights: Sequence[str] = ()
) -> tuple[Objective, ...]:
    """Read repeated or comma-separated column names; weights are written `column=2`."""
    asked = [(name, False) for name in _names(minimise)] + [(n, True) for n in _names(maximise)]
    if not asked:
        raise BadValue("objective", "none", "--minimize COLUMN or --maximize COLUMN, repeatable")
    named = [name for name, _ in asked]
    if len(set(named)) < len(named):
        raise BadValue("objective", ", ".join(named), "each column once")
    weighed = dict(_weight(text) for text in weights)
    unknown = sorted(set(weighed) - set(named))
    if unknown:
        raise BadValue("weight", unknown[0], f"an objective's column: {', '.join(named)}")
    return tuple(Objective(name, largest, weighed.get(name, 1.0)) for name, largest in asked)


def _names(texts: Sequence[str]) -> list[str]:
    return [name.strip() for text in texts for name in text.split(",") if name.strip()]


def _weight(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise BadValue("weight", text, "COLUMN=NUMBER with a number of at least 0: tpot_s=2")
    return name.strip(), weight
