"""`profile_export_aiperf.csv` and genai-perf's CSV in the shape of their JSON.

Two tables behind each other, an empty line between them: distributions, then single values.
The unit stands behind the name. Figures are rounded to two decimals.
"""

import csv
import re
from typing import Any

_NAME = re.compile(r"(?P<name>.+?)(?: \((?P<unit>[^()]*)\))?")
HEADERS = ("metric", "statistic")


def is_export(text: str) -> bool:
    first = text.lstrip().split("\n", 1)[0].strip().lower().replace('"', "")
    return first.startswith(("metric,avg,", "metric,value", "statistic,avg,"))


def as_json(text: str) -> dict[str, Any]:
    """Every metric by its tag: `Time to First Token (ms)` is `time_to_first_token`."""
    found: dict[str, Any] = {"rounded_csv": True}
    header: list[str] = []
    for row in csv.reader(text.splitlines()):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            header = []
        elif not header:
            header = [cell.lower() for cell in cells]
        elif header[0] in HEADERS:
            match = _NAME.fullmatch(cells[0])
            values = dict(zip(header[1:], map(_number, cells[1:]), strict=False))
            values = {"avg" if k == "value" else k: v for k, v in values.items() if v is not None}
            if match:
                found[_tag(match["name"])] = {"unit": match["unit"], **values}
    return found


def _tag(name: str) -> str:
    return re.sub(r"\W+", "_", name.strip().lower()).strip("_")


def _number(cell: str) -> float | None:
    try:
        return float(cell.replace(",", ""))
    except ValueError:
        return None
