"""The prepared hour on a GPU: each part is bounded, and takes neither others nor tables along."""

import asyncio
import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "benchmarks" / "gpu"
PARTS = {
    "part_done": "yield Table('A', ('x', 'y'), ((1, None), (0.12345, 'a|b')), ('said',))",
    "part_fails": "yield Table('B', (), notes=('kept',)); raise RuntimeError('no such kernel')",
    "part_hangs": "yield Table('C', (), notes=('early',)); spawn(); time.sleep(600)",
    "part_last": "yield Table('D', ())",
}
MODULE = """
import subprocess, sys, time
from table import Table

def spawn():
    code = "import time; print('gpu-hour-child', flush=True); time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", code], start_new_session=True)

def measure(setting):
    {body}
"""


@pytest.fixture
def hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script's functions, with parts of its own; its plain names are gone afterwards."""
    for name, body in PARTS.items():
        (tmp_path / f"{name}.py").write_text(MODULE.format(body=body))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.syspath_prepend(str(FOLDER))
    known = set(sys.modules)
    yield SimpleNamespace(**runpy.run_path(str(FOLDER / "__main__.py"), run_name="loaded"))
    for name in {"parts", "table", "clock"} - known:
        sys.modules.pop(name, None)


def outcomes(hour: Any, folder: Path, *names: str, limit_s: float = 30.0) -> list[Any]:
    parts = [hour.Part(name, limit_s) for name in names]
    return asyncio.run(hour.run_all(parts, device="cpu", size="small", folder=folder))


@pytest.mark.slow
def test_a_part_that_fails_says_so_keeps_its_tables_and_the_next_goes_on(
    hour: Any, tmp_path: Path
) -> None:
    found = outcomes(hour, tmp_path, "part_done", "part_fails", "part_last")
    assert [each.status for each in found] == ["done", "failed", "done"]
    assert found[1].why == "RuntimeError: no such kernel"
    assert found[1].tables[0].notes == ("kept",)
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert [part["status"] for part in written["parts"]] == ["done", "failed", "done"]
    text = (tmp_path / "tables.md").read_text()
    assert "| 1 | – |" in text
    assert "| 0.123 | a\\|b |" in text


@pytest.mark.slow
def test_a_part_that_hangs_is_ended_with_all_it_started(hour: Any, tmp_path: Path) -> None:
    (found,) = outcomes(hour, tmp_path, "part_hangs", limit_s=8.0)
    assert (found.status, found.tables[0].notes) == ("out of time", ("early",))
    assert "gpu-hour-child" in (tmp_path / "part_hangs.log").read_text()
    assert not [
        each
        for each in psutil.process_iter(["cmdline"])
        if "gpu-hour-child" in " ".join(each.info["cmdline"] or ())
    ]


def test_all_parts_together_have_an_end(
    hour: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(hour.run_all.__globals__, "TOTAL_S", 0.5)
    (found,) = outcomes(hour, tmp_path, "part_done")
    assert (found.status, found.why) == ("not begun", "no time was left")


def test_tables_go_between_the_marks_of_a_page_again_and_again(hour: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{hour.insert.__globals__['BEGIN']}\nold\n"
                    f"{hour.insert.__globals__['END']}\n\nafter\n")  # fmt: skip
    for text in ("first", "second"):
        hour.insert(page, [text])
    assert "old" not in page.read_text()
    assert "first" not in page.read_text()
    assert page.read_text().index("second") < page.read_text().index("after")
    page.write_text("no marks")
    with pytest.raises(ValueError, match="no lines"):
        hour.insert(page, ["x"])
