"""The table of failures (`failures.yaml`): classes, the words they are known by, what to do."""

import functools
import re
from pathlib import Path
from typing import Literal

import msgspec

FILE = Path(__file__).with_name("failures.yaml")
Rank = Literal["cause", "general", "aftermath", "echo"]
RANKS: tuple[Rank, ...] = ("cause", "general", "aftermath", "echo")
"""A cause goes ahead of what only says that something failed, that of who died of it."""


class Wording(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"of": "from"}):
    """One way in which a failure is told; what is set here goes ahead of the class's own.

    A blank in `text` stands for any white space, so that a wrapped line is known too.
    """

    text: str
    of: str = ""
    """Who prints it, and in which versions."""
    rank: Rank | None = None
    lasting: bool | msgspec.UnsetType | None = msgspec.UNSET
    advice: str | None = None
    during: str | None = None
    """What the server was doing: see `activity` in failures.py."""
    loud: bool = False
    """It counts even where it was only logged as information."""

    @property
    def pattern(self) -> re.Pattern[str]:
        return _compiled(self.text)


# A set of characters, which keeps its blank, or a blank that no quantifier follows.
_BLANK = re.compile(r"\[(?:\\.|[^\[\]\\])*\]| (?![?*+{])")


@functools.cache
def _compiled(text: str) -> re.Pattern[str]:
    flexible = _BLANK.sub(lambda found: r"\s{1,4}" if found[0] == " " else found[0], text)
    return re.compile(flexible, re.MULTILINE)


class FailureClass(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of failure; `lasting` is None where another start may or may not go better."""

    code: str
    lasting: bool | None
    advice: str
    wordings: tuple[Wording, ...]
    rank: Rank = "cause"
    phase: Literal["any", "start", "serving"] = "any"


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file: lines that mean nothing, and the classes, the more telling first."""

    harmless: tuple[str, ...]
    classes: tuple[FailureClass, ...]

    @property
    def never(self) -> re.Pattern[str]:
        return _compiled("|".join(self.harmless))

    @property
    def always(self) -> re.Pattern[str]:
        loud = [w.text for each in self.classes for w in each.wordings if w.loud]
        return _compiled("|".join(loud))


@functools.cache
def table() -> Table:
    """Read the table once."""
    return msgspec.yaml.decode(FILE.read_bytes(), type=Table)


def lasting(code: str) -> bool | None:
    """Whether a class fails again whenever it is started; None where that depends or is unknown."""
    return next((each.lasting for each in table().classes if each.code == code), None)
