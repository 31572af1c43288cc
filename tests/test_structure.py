"""The picture of the structure shows what the contracts hold, and packages say what they are."""

import ast
import re
import runpy
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.engines.registry import ENGINES

ROOT = Path(__file__).parent.parent
LONGEST_IDEA = 92
LONGEST_MODULE = 300


draw = SimpleNamespace(**runpy.run_path(str(ROOT / "scripts" / "draw_structure.py")))
TOP = [box.name for floor in draw.floors() for box in floor]
MODULES = sorted(path for name in TOP for path in (ROOT / name).rglob("*.py"))
PACKAGES = [path for path in MODULES if path.name == "__init__.py"]
NOT_ENGINES = {"simulated", "diffusion", "endpoint"}
"""Engines' names that are also a provenance, a kind of model and a column."""


def test_the_committed_picture_is_what_the_contracts_draw() -> None:
    assert draw.FIGURE.read_text() == draw.draw(), "run: python scripts/draw_structure.py"


def test_the_picture_is_well_formed_and_names_every_package_and_room() -> None:
    texts = [each.text for each in ET.fromstring(draw.draw()).iter() if each.text]
    rooms = [box.name for floor in draw.floors("orchestrator") for box in floor]
    modules = {path.stem for path in (ROOT / "orchestrator").iterdir()} - {"__init__", "py"}
    assert set(TOP) | set(rooms) <= set(texts)
    assert set(rooms) == {name for name in modules if not name.startswith("_")}


def test_no_text_is_wider_than_its_box_and_no_box_leaves_the_page() -> None:
    root = ET.fromstring(draw.draw())
    tag = "{http://www.w3.org/2000/svg}"
    boxes = [
        tuple(float(each.get(side, "0")) for side in ("x", "y", "width", "height"))
        for each in root.iter(f"{tag}rect")
        if each.get("class") in ("box", "room")
    ]
    for x, y, width, height in boxes:
        assert x + width <= draw.WIDTH - draw.MARGIN + 1e-6
        assert y + height <= float(root.get("height", "0")) - draw.MARGIN + 1e-6
    for text in root.iter(f"{tag}text"):
        if text.get("class") != "text" or float(text.get("x", "0")) == draw.MARGIN:
            continue
        left, base = float(text.get("x", "0")), float(text.get("y", "0"))
        right = left + draw.text_px(text.text or "")
        assert any(
            x <= left and right <= x + width and y < base < y + height
            for x, y, width, height in boxes
        ), text.text


def test_a_contract_that_changes_draws_another_picture(tmp_path: Path) -> None:
    for name in ("above", "below", "beside"):
        (tmp_path / f"{name}.py").write_text(f'"""The one {name}."""\n')
    settings = tmp_path / "pyproject.toml"
    pictures = []
    for layers in ('"above", "below | beside"', '"above | below", "beside"'):
        settings.write_text(
            f'[[tool.importlinter.contracts]]\nname = "n"\ntype = "layers"\nlayers = [{layers}]\n'
        )
        pictures.append(draw.draw(tmp_path))
    assert pictures[0] != pictures[1]
    assert all("The one beside." in picture for picture in pictures)


@pytest.mark.parametrize("path", PACKAGES, ids=lambda p: p.parent.relative_to(ROOT).as_posix())
def test_a_package_says_its_one_idea_in_its_first_line(path: Path) -> None:
    said = ast.get_docstring(ast.parse(path.read_text()))
    assert said, path
    first = said.splitlines()[0]
    assert len(first) <= LONGEST_IDEA
    assert re.fullmatch(r"[^a-z].*[^.]\.|transformers .*\.|llama\.cpp.*\.|vLLM.*\.", first), first


def test_no_module_is_longer_than_what_one_reads_at_a_sitting() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in MODULES}
    assert {path: length for path, length in lengths.items() if length > LONGEST_MODULE} == {}


def compared(source: str) -> set[str]:
    """The texts that conditions and patterns of a module compare with, alone or one of several."""
    sides: list[ast.expr] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides += (node.left, *node.comparators)
        elif isinstance(node, ast.MatchValue):
            sides.append(node.value)
    several = (ast.Tuple, ast.List, ast.Set)
    alone = [one for side in sides for one in (side.elts if isinstance(side, several) else [side])]
    texts = [one.value for one in alone if isinstance(one, ast.Constant)]
    return {text for text in texts if isinstance(text, str)}


def test_what_an_engine_does_is_asked_of_its_record_and_never_of_its_name() -> None:
    names = set(ENGINES) - NOT_ENGINES
    assert compared('if name in ("vllm", "x") or "llamacpp" == name: pass') >= {"vllm", "llamacpp"}
    assert compared('match name:\n    case "vllm": pass') == {"vllm"}
    outside = (path for path in MODULES if "engines" not in path.parts)
    told = {path: names & compared(path.read_text()) for path in outside}
    assert {path: found for path, found in told.items() if found} == {}
