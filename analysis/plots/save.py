"""Figures to files; the ending picks the format."""

import io
import warnings
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from analysis.plots.sheet import SCREEN, Sheet
from catalog.errors import BadValue

FORMATS = ("svg", "png", "pdf")
DPI = 200


def save(figure: Figure, path: Path, sheet: Sheet = SCREEN) -> Path:
    """Write a figure; the same figure gives the same bytes."""
    ending = path.suffix.lower().lstrip(".")
    if ending not in FORMATS:
        raise BadValue("-o", str(path), "a file name that ends in .svg, .png or .pdf")
    if not path.parent.is_dir():
        raise BadValue("-o", str(path), f"a file in a folder that exists, not {path.parent}")
    try:
        path.write_bytes(encoded(figure, ending, sheet))
    except OSError as error:
        raise BadValue("-o", str(path), f"a writable file: {error.strerror}") from error
    return path


def encoded(figure: Figure, ending: str, sheet: Sheet = SCREEN) -> bytes:
    """Encode a figure in memory."""
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(ending)
    buffer = io.BytesIO()
    with mpl.rc_context(sheet.settings), warnings.catch_warnings():
        # A name may hold characters that the font does not have; a box is drawn for them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format=ending, dpi=DPI, metadata=metadata)
    return buffer.getvalue()
