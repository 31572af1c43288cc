"""The picture of the structure shows what the contracts hold, and packages say what they are."""

import ast
import re
import runpy
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parent.parent
LONGEST_IDEA = 92


draw = SimpleNamespace(**runpy.run_path(str(ROOT / "scripts" / "draw_structure.py")))
TOP = [box.name for floor in draw.floors() for box in floor]
PACKAGES = sorted(path for name in TOP for path in (ROOT / name).rglob("__init__.py"))


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
