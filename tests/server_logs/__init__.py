"""Logs of real servers, reduced, each with the right answers: see README.md beside them."""

import csv
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent
START = """\
(APIServer pid=211) INFO 10-14 10:20:00 [api_utils.py:347] version 0.26.0
(Worker_TP0 pid=350) INFO 10-14 10:20:14 [gpu_model_runner.py:3000] Starting to load model m...
(Worker_TP1 pid=351) ERROR 10-14 10:21:06 [multiproc_executor.py:794] WorkerProc failed to start.
(Worker_TP1 pid=351) ERROR 10-14 10:21:06 [multiproc_executor.py:794] Traceback (most recent call last):
(Worker_TP1 pid=351) ERROR 10-14 10:21:06 [multiproc_executor.py:794] {}
(APIServer pid=211) RuntimeError: Engine core initialization failed. See root cause above.
"""  # noqa: E501 (as the server prints it)


def table(name: str) -> list[dict[str, str]]:
    """Rows of `ok` or `fail`."""
    with (ROOT / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def text(row: dict[str, str]) -> str:
    return (ROOT / row["file"]).read_text()


def wordings() -> Iterator[tuple[str, bool | None, str]]:
    """Single messages: class, whether it lasts, text."""
    for line in (ROOT / "wordings.txt").read_text().splitlines():
        head, message = line.split("\t")
        code, lasts = head.split()
        yield code, {"yes": True, "no": False, "-": None}[lasts], message
