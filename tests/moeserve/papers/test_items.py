"""The list of the papers' items: nothing is left out, and every command it names can be typed."""

import csv
import re
from collections import Counter
from pathlib import Path

import pytest
import typer
from click.exceptions import ClickException

from catalog.errors import UnknownName
from moeserve.cli.commands import load
from moeserve.papers.check import commands, verdict_of
from moeserve.papers.item import PaperItem, items_of, paper_list

ITEMS = items_of()
CHECKLIST = Path(__file__).with_name("checklist.csv")
NUMBERED = {"parallelism": range(1, 4), "qs": range(1, 24), "design-space": range(1, 2)}
TABLES = {
    "expert-mlp": ["1"],
    "parallelism": ["I", "II", "III", "IV", "V", "VI", "VII"],
    "qs": ["1", "2", "3", "4", "5", "6"],
    "design-space": ["1", "2"],
}
FIGURES = {"expert-mlp": 4, "parallelism": 4, "qs": 0, "design-space": 2}


def name_of(item: PaperItem) -> str:
    return f"{item.paper}: {item.item}"


def test_no_item_of_the_review_s_checklist_is_left_out() -> None:
    listed = {(item.paper, item.item) for item in ITEMS}
    with CHECKLIST.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 60
    assert not [row for row in rows if (row["paper"], row["item"]) not in listed]


@pytest.mark.parametrize("paper", NUMBERED)
def test_every_numbered_equation_has_a_row(paper: str) -> None:
    found: set[int] = set()
    for item in items_of((paper,)):
        if item.kind == "equation" and (text := re.match(r"Equations? ([\d, toand]+)", item.item)):
            first_to_last = re.fullmatch(r"(\d+) to (\d+)\s*", text[1].strip())
            if first_to_last:
                found |= set(range(int(first_to_last[1]), int(first_to_last[2]) + 1))
            else:
                found |= {int(number) for number in re.findall(r"\d+", text[1])}
    assert found == set(NUMBERED[paper])


@pytest.mark.parametrize("paper", TABLES)
def test_every_table_and_figure_has_a_row(paper: str) -> None:
    names = [item.item for item in items_of((paper,))]
    wanted = [f"Table {number}" for number in TABLES[paper]]
    wanted += [f"Figure {number + 1}" for number in range(FIGURES[paper])]
    missing = [w for w in wanted if not any(re.match(rf"{w}\b", name) for name in names)]
    assert not missing


def test_items_have_names_of_their_own() -> None:
    assert not [name for name, count in Counter(map(name_of, ITEMS)).items() if count > 1]
    assert set(paper_list().papers) == {item.paper for item in ITEMS}


@pytest.mark.slow
@pytest.mark.parametrize("item", ITEMS, ids=name_of)
def test_an_item_says_what_comes_out_and_why_it_is_not_what_the_paper_says(
    item: PaperItem,
) -> None:
    assert item.says
    assert bool(item.readings) != bool(item.comes_out), "figures or words, not both"
    assert item.because or item.verdict == "reproduced" or item.kind == "table"
    assert item.command or not item.readings


@pytest.mark.parametrize("item", [i for i in ITEMS if i.quick], ids=name_of)
def test_a_verdict_is_what_the_figures_beside_it_make_of_the_claims(item: PaperItem) -> None:
    assert verdict_of(item, [each.gives for each in item.readings]) == item.verdict


@pytest.mark.slow
@pytest.mark.parametrize("item", [i for i in ITEMS if i.command], ids=name_of)
def test_a_command_can_be_typed(item: PaperItem) -> None:
    """Every word is understood by the command's own parser; nothing is run."""
    for (name, *arguments), _ in commands(item.command):
        command = load(name)
        if name in ("predict", "microbench", "slurm"):
            command, arguments = command.commands[arguments[0]], arguments[1:]
        try:
            command.make_context(name, list(arguments))
        except (ClickException, typer.Exit) as error:
            pytest.fail(f"moeserve {name} {' '.join(arguments)}: {error}")


def test_a_file_that_one_step_writes_holds_one_thing() -> None:
    written: dict[str, list[str]] = {}
    for item in ITEMS:
        for arguments, file in commands(item.command) if item.command else ():
            if file:
                assert written.setdefault(file, arguments) == arguments


def test_another_paper_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownName, match="design-space"):
        items_of(("design",))
