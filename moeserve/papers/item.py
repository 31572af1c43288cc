"""One item of a paper, and the file that lists them all."""

import functools
from pathlib import Path
from typing import Literal

import msgspec

from catalog.errors import UnknownName

Value = str | float | bool
Kind = Literal["table", "figure", "equation", "finding", "claim", "system", "setup"]
Verdict = Literal["reproduced", "in part", "contradicted", "cannot be"]
"""In part: some of it agrees. Cannot be: not on what there is here, or there is nothing to show."""
Take = Literal["only", "mean", "least", "most", "count"]


class Reading(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One figure taken from a command's rows, what it is, and what the paper says of it."""

    what: str
    column: str
    where: dict[str, Value | list[Value]] = {}
    """Rows with these values; several in a list."""
    over: dict[str, Value | list[Value]] = {}
    """Divided by the rows with these instead: mean over mean, or each over its own by `match`."""
    match: tuple[str, ...] = ()
    """Columns by which numerator and denominator belong together."""
    take: Take = "only"
    gives: Value | None
    """What comes out, numbers within half a per cent; null where the row has nothing."""
    printed: Value | None = None
    near: float = 0.02
    """The share within which a number counts as the printed one."""
    at_least: float | None = None
    at_most: float | None = None
    """What the paper says without a number of its own."""

    @property
    def claims(self) -> bool:
        """Whether the paper says anything of it."""
        return not (self.printed is None and self.at_least is None and self.at_most is None)

    def agrees(self, value: Value | None) -> bool:
        """Whether a value is what the paper says."""
        if value is None:
            return False
        if self.printed is not None:
            return alike(value, self.printed, self.near)
        if isinstance(value, str):
            return False
        above = self.at_least is None or value >= self.at_least
        return above and (self.at_most is None or value <= self.at_most)


def alike(value: Value | None, other: Value | None, share: float) -> bool:
    """Whether two numbers differ by no more than a share of the second; all else is equal or not.

    Yes and no are no numbers here: Python takes them for 1 and 0.
    """
    if isinstance(value, bool | str | None) or isinstance(other, bool | str | None):
        return type(value) is type(other) and value == other
    return abs(value - other) <= share * abs(other)


class PaperItem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table, figure, equation, finding, claim or system: how it is shown and what became of it.

    With readings the item is quick: `moeserve papers --check quick` runs its command.
    """

    paper: str
    item: str
    kind: Kind
    says: str
    command: str = ""
    """Commands of moeserve, joined by ` && `; ` > FILE` keeps what one prints for the next."""
    readings: tuple[Reading, ...] = ()
    comes_out: str = ""
    """Of items without readings, which say it themselves."""
    left: str = ""
    """What of it is not shown by its readings; with it nothing is reproduced but in part."""
    verdict: Verdict
    because: str = ""

    @property
    def quick(self) -> bool:
        return bool(self.readings)

    @property
    def why(self) -> str:
        """The verdict's reason, with what is left."""
        return " ".join(
            each for each in (self.left and f"Left: {self.left}.", self.because) if each
        )

    @property
    def needs(self) -> str:
        """What its command takes: nothing but seconds, or what `because` names."""
        return "quick" if self.quick else "long" if self.command else "none"


class Paper(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the four."""

    title: str
    short: str


class PaperList(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The papers by key, and their items in the order of the papers."""

    papers: dict[str, Paper]
    items: tuple[PaperItem, ...]


FILE = Path(__file__).with_name("items.yaml")


@functools.cache
def paper_list() -> PaperList:
    """Read the file once."""
    return msgspec.yaml.decode(FILE.read_bytes(), type=PaperList)


def items_of(papers: tuple[str, ...] = ()) -> list[PaperItem]:
    """Return the items of some papers, of all where none is named."""
    listed = paper_list()
    for name in papers:
        if name not in listed.papers:
            raise UnknownName("--paper", name, tuple(listed.papers))
    return [item for item in listed.items if not papers or item.paper in papers]
