"""A sweep's results as files."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import msgspec

from catalog.csv_text import csv_text
from catalog.errors import BadValue, StorageError
from catalog.figure_style import FIGURE_SETTINGS
from microbench.rows import PointRow
from microbench.study import SweepResult

POINTS, RESULT, CONSTANTS = "points.csv", "result.json", "constants.json"
FILES = (".csv", ".json")


def check_target(path: Path) -> None:
    """Refuse before the measuring what could not be written after it."""
    folder = path.parent if path.suffix in FILES else path
    if path.suffix in FILES and path.is_dir():
        raise BadValue("-o", str(path), "a file ending in .csv or .json, or a directory without")
    if folder == path and (path / RESULT).exists():
        raise BadValue("-o", str(path), f"another directory: this one holds a {RESULT} already")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".moeserve-writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        allowed = f"a place that can be written: {error.strerror}"
        raise BadValue("-o", str(path), allowed) from error


def save(result: SweepResult, path: Path) -> list[Path]:
    """Write one file of rows, or a directory with everything; return what was written."""
    try:
        if path.suffix in FILES:
            path.write_bytes(rows_csv(result.rows) if path.suffix == ".csv" else rows_json(result))
            return [path]
        return _save_all(result, path)
    except OSError as error:
        raise StorageError(f"{path}: the results cannot be written: {error.strerror}") from error


def _save_all(result: SweepResult, folder: Path) -> list[Path]:
    contents = {
        POINTS: rows_csv(result.rows),
        RESULT: msgspec.json.format(msgspec.json.encode(result)) + b"\n",
    }
    if result.constants is not None:
        encoded = msgspec.json.encode(result.constants)
        contents[CONSTANTS] = msgspec.json.format(encoded) + b"\n"
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [*(folder / name for name in contents), *_draw(result, folder)]


def _draw(result: SweepResult, folder: Path) -> list[Path]:
    """Draw the figures where matplotlib is installed and something was timed."""
    if find_spec("matplotlib") is None or all(row.median_ms is None for row in result.rows):
        return []
    import matplotlib as mpl

    from microbench.figures import FIGURES

    written = []
    for name, draw in FIGURES.items():
        path = folder / f"{name}.svg"
        figure = draw(result.rows)
        with mpl.rc_context(FIGURE_SETTINGS):
            figure.savefig(path, metadata={"Date": None})
        written.append(path)
    return written


def rows_csv(rows: Sequence[PointRow]) -> bytes:
    return csv_text(map(msgspec.structs.asdict, rows), PointRow.__struct_fields__).encode()


def rows_json(result: SweepResult) -> bytes:
    return msgspec.json.format(msgspec.json.encode(result.rows)) + b"\n"
