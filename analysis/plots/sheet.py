"""How large a figure is and how it looks: a screen's, or the columns of a paper."""

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import RcParams

from catalog.errors import BadFile, BadValue
from catalog.figure_style import FIGURE_SETTINGS

COLUMNS_IN = {1: 252 / 72.27, 2: 516 / 72.27}
"""Width of one and of two columns in inches: IEEEtran's 252 pt and 516 pt, of 72.27 to the inch."""
CHARACTER = 0.56
"""Mean width of a character, in font sizes."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a panel wants, and how narrow it may be before it goes to a row of its own."""

    width_in: float = 3.4
    height_in: float = 2.7
    narrowest_in: float = 1.7


@dataclass(frozen=True, slots=True)
class Sheet:
    """Where a figure goes."""

    columns: int | None = None
    """Columns of a two-column paper that it takes; None: as wide as its panels want."""
    style: Path | None = None
    """A style file of matplotlib, whose settings go over moeserve's."""

    def __post_init__(self) -> None:
        if self.columns is not None and self.columns not in COLUMNS_IN:
            raise BadValue("--columns", str(self.columns), "1 or 2, the columns of a paper")

    @property
    def settings(self) -> dict[Any, Any]:
        """Return settings for matplotlib's `rc_context`."""
        small = {"font.size": 7, "lines.linewidth": 1, "axes.labelsize": 7}
        own = FIGURE_SETTINGS | (small if self.columns else {})
        return own | dict(_style(self.style)) if self.style else own

    def grid(self, across: int, down: int, room: Room) -> tuple[int, int]:
        """Columns and rows of so many panels, none narrower than it may be."""
        if self.columns is None:
            return across, down
        fit = max(1, int(COLUMNS_IN[self.columns] / room.narrowest_in))
        return (across, down) if across <= fit else (fit, -(-across * down // fit))

    def size_in(self, across: int, down: int, room: Room) -> tuple[float, float]:
        """Return width and height of a grid of panels, its title and legend included."""
        if self.columns is None:
            return room.width_in * across, room.height_in * down + 0.6
        width = COLUMNS_IN[self.columns]
        shape = width / across / room.width_in
        return width, max(1.5, min(1.0, shape) * room.height_in) * down + 0.6

    def wrapped(self, text: str, size_pt: float, width_in: float) -> str:
        """Break a title into lines that there is width enough for."""
        room = max(20, int(width_in * 72 / (CHARACTER * size_pt)))
        return "\n".join(textwrap.wrap(text, room))


SCREEN, PANEL = Sheet(), Room()


def _style(path: Path) -> RcParams:
    if not path.is_file():
        raise BadFile(path, "is no style file of matplotlib (--style FILE.mplstyle)")
    try:
        _check_names(path)
        return mpl.rc_params_from_file(path, fail_on_error=True, use_default_template=False)
    except (KeyError, ValueError, OSError) as error:
        raise BadFile(path, f"is no style file of matplotlib: {error}") from error


def _check_names(path: Path) -> None:
    """Refuse what matplotlib would only warn of."""
    for line in path.read_text(encoding="utf-8").splitlines():
        name = line.partition("#")[0].partition(":")[0].strip()
        if name and name not in mpl.rcParams:
            raise BadFile(path, f"is no style file: {name!r} is no setting of matplotlib")
