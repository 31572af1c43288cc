"""Tables with names of one's own: columns renamed to the run table's, and what is the same in all.

`--column tput=output_throughput` says what a column holds; `--constant model=OLMoE` fills in a
column that the table lacks because every row has the same.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from analysis.data.read import typed
from catalog.errors import BadFile, BadValue, UnknownName

# A unit behind a name of one's own: `TTFT(s)`, `ttft [us]`, `duration_ms`.
_UNIT = re.compile(r"(?:[_\s]|[\[(]\s*)(ms|msecs?|s|secs?|seconds?|us|ns|min)\s*[\])]?$")
_SECONDS = frozenset({"s", "sec", "secs", "second", "seconds"})
_MILLISECONDS = frozenset({"ms", "msec", "msecs"})


@dataclass(frozen=True, slots=True)
class OwnNames:
    """How columns of one's own are to be read."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Own name to the run table's."""
    constants: Mapping[str, str] = field(default_factory=dict)

    def applied(self, frame: pd.DataFrame, where: str) -> pd.DataFrame:
        """Rename the columns that are there, and fill in the constants."""
        here = {own: name for own, name in self.columns.items() if own in frame}
        for own, name in here.items():
            if name in frame and name not in here:
                raise BadFile(where, f"has a column {name!r} besides {own!r}: it cannot be both")
        made = frame.rename(columns=here)
        for name in here.values():
            made[name] = typed(made[name], where)
        for name, text in self.constants.items():
            made[name] = _filled(made, name, text, where)
        return made

    def check(self, columns: Iterable[str]) -> None:
        """Refuse a name that no input has."""
        known = [str(name) for name in columns]
        for own in self.columns:
            if own not in known:
                raise UnknownName("column of --column", own, known)


NO_OWN_NAMES = OwnNames()


def parse_own_names(columns: Iterable[str] | None, constants: Iterable[str] | None) -> OwnNames:
    """Read `--column OWN=NAME` and `--constant NAME=VALUE`."""
    renamed: dict[str, str] = {}
    for text in columns or ():
        own, name = _halves("--column", text.rpartition("="), text)
        if own in renamed or name in renamed.values():
            raise BadValue("--column", text, "each column once")
        _check_unit(own, name, text)
        renamed[own] = name
    filled: dict[str, str] = {}
    for text in constants or ():
        name, value = _halves("--constant", text.partition("="), text)
        if name in filled or name in renamed.values():
            raise BadValue("--constant", text, "each column once")
        filled[name] = value
    return OwnNames(renamed, filled)


def _halves(flag: str, parts: tuple[str, str, str], text: str) -> tuple[str, str]:
    left, right = parts[0].strip(), parts[2].strip()
    if not left or not right:
        form = "OWN=NAME, for instance tput=output_throughput"
        raise BadValue(flag, text, form if flag == "--column" else "NAME=VALUE: model=OLMoE-1B-7B")
    return left, right


def _check_unit(own: str, name: str, text: str) -> None:
    """Refuse a unit that the run table's column does not have."""
    match = _UNIT.search(own.lower())
    wanted = _MILLISECONDS if name.endswith("_ms") else _SECONDS if name == "duration" else None
    if match and wanted and match[1] not in wanted:
        unit = "milliseconds" if name.endswith("_ms") else "seconds"
        raise BadValue("--column", text, f"{name} is in {unit}: convert the column and rename it")


def _filled(frame: pd.DataFrame, name: str, text: str, where: str) -> pd.Series:
    """A column that is the same in every row; one that holds something else is left alone."""
    if name in frame:
        known = frame[name].astype(object).where(frame[name].notna(), "").astype(str).str.strip()
        if known.ne("").any():
            raise BadFile(where, f"column {name!r} is there already: --constant cannot replace it")
    column = pd.Series(text, index=frame.index, name=name, dtype=object)
    return typed(column, where)
