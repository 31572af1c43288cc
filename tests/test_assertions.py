"""A test states something: it asserts, expects an error, or says in its name that none may come."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = sorted(HERE.rglob("test_*.py"))
EXPECTING = ("raises", "warns", "fail", "deprecated_call")
"""Of pytest."""
NOTHING_RAISED = (
    "is_taken", "are_taken", "is_allowed", "are_allowed", "is_no_error", "is_no_failure",
    "are_left_alone", "raises_nothing",
)  # fmt: skip
"""What the name of a test says whose claim is that nothing is raised."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def states(node: ast.AST) -> bool:
    """Whether it asserts or expects by itself."""
    for each in ast.walk(node):
        if isinstance(each, ast.Assert):
            return True
        if not isinstance(each, ast.Attribute):
            continue
        of_pytest = isinstance(each.value, ast.Name) and each.value.id == "pytest"
        if each.attr.startswith("assert_") or (of_pytest and each.attr in EXPECTING):
            return True
    return False


def called(node: ast.AST) -> set[str]:
    """Names of what it calls: functions, and methods by their own name."""
    calls = [each.func for each in ast.walk(node) if isinstance(each, ast.Call)]
    names = {each.id for each in calls if isinstance(each, ast.Name)}
    return names | {each.attr for each in calls if isinstance(each, ast.Attribute)}


def stating_helpers(tree: ast.AST, known: set[str]) -> set[str]:
    """Names of functions that state something, or call one that does."""
    helpers = {each.name: each for each in functions(tree)}
    found = known | {name for name, each in helpers.items() if states(each)}
    while more := {n for n, each in helpers.items() if n not in found and called(each) & found}:
        found |= more
    return found


def imported(tree: ast.Module) -> Iterator[Path]:
    """Modules of tests that a file imports, and the fixtures of the folders above it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests"):
            yield HERE.parent / (node.module or "").replace(".", "/")


def silent(path: Path) -> list[str]:
    """Return the tests of a file that state nothing."""
    tree = ast.parse(path.read_text())
    known: set[str] = set()
    for place in imported(tree):
        for file in (place.with_suffix(".py"), *place.glob("*.py")):
            if file.exists():
                known |= stating_helpers(ast.parse(file.read_text()), set())
    stating = stating_helpers(tree, known)
    tests = [each for each in functions(tree) if each.name.startswith("test_")]
    said = [each.name for each in tests if any(words in each.name for words in NOTHING_RAISED)]
    return [each.name for each in tests if each.name not in {*stating, *said}]


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(HERE).as_posix())
def test_every_test_states_something_or_says_that_nothing_may_be_raised(path: Path) -> None:
    assert silent(path) == []


def test_a_test_that_only_runs_is_found_and_one_that_states_is_not(tmp_path: Path) -> None:
    texts = {
        "def test_a(): run()": ["test_a"],
        "def test_a(): assert run()": [],
        "def test_a():\n    with pytest.raises(E): run()": [],
        "def test_a(): check()\ndef check(): deeper()\ndef deeper(): assert 1": [],
        "async def test_a(): await check()\nasync def check(): run()": ["test_a"],
        "def test_it_is_allowed(): run()": [],
    }
    for text, found in texts.items():
        (tmp_path / "test_x.py").write_text(text)
        assert silent(tmp_path / "test_x.py") == found, text
