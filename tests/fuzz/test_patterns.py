"""Every regular expression of the source takes time in proportion to what it is given."""

import ast
import importlib
import pkgutil
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.pumps import attacks

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "catalog", "strategies", "workloads", "perfmodel", "servers", "microbench", "orchestrator",
    "analysis", "slurm", "diffusion_study", "moeserve",
)  # fmt: skip
LENGTH = 2_000
SUSPECT_S = 0.0004
"""What takes less at this length is not looked at twice."""
SHORT, LONG = 4_000, 16_000
GROWTH = 9.0
"""At four times the length: 4 is in proportion, 16 its square."""
SEARCHES = frozenset({"search", "findall", "finditer", "sub", "subn", "split"})
CALLS = SEARCHES | {"match", "fullmatch"}


@dataclass(frozen=True)
class Use:
    """A pattern, and whether it is looked for at every place of a text or at its begin alone."""

    pattern: "re.Pattern[Any]"
    searched: bool


def trees() -> Iterator[ast.AST]:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            yield from ast.walk(ast.parse(path.read_text()))


def written() -> Iterator[Use]:
    """Patterns that stand where they are used: `re.search("…", text)`."""
    for node in trees():
        if isinstance(node, ast.Call) and node.args and _call(node) in {("re", n) for n in CALLS}:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str | bytes):
                yield Use(re.compile(first.value), _call(node)[1] in SEARCHES)


def held() -> Iterator[Use]:
    """Patterns that modules hold once they are loaded, put together from pieces or not."""
    anchored = {name for name, how in map(_call, trees()) if how in CALLS - SEARCHES}
    searched = {name for name, how in map(_call, trees()) if how in SEARCHES}
    for package in PACKAGES:
        for module in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
            if module.name.endswith("__main__") or "huggingface" in module.name:
                continue
            for name, value in vars(importlib.import_module(module.name)).items():
                for pattern in _patterns(value, deep=3):
                    yield Use(pattern, name in searched or name not in anchored)


def _call(node: ast.AST) -> tuple[str, str]:
    """`NAME.method(…)` as these two, and `….pattern.method(…)` as well."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return "", ""
    base = node.func.value
    name = base.id if isinstance(base, ast.Name) else getattr(base, "attr", "")
    return name, node.func.attr


def _patterns(value: object, deep: int) -> Iterator["re.Pattern[Any]"]:
    if isinstance(value, re.Pattern):
        yield value
    elif deep and isinstance(value, dict):
        for each in list(value.values()):
            yield from _patterns(each, deep - 1)
    elif deep and isinstance(value, tuple | list | frozenset):
        for each in value:
            yield from _patterns(each, deep - 1)
    elif deep and hasattr(value, "pattern"):
        yield from _patterns(value.pattern, deep - 1)


def superlinear(use: Use) -> str:
    """Return the begin of an attack whose time grows faster than its length; empty if none does."""
    for number, text in enumerate(attacks(use.pattern, LENGTH)):
        if _took_s(use, text) < SUSPECT_S:
            continue
        short, long = (
            next(islice(attacks(use.pattern, length), number, None)) for length in (SHORT, LONG)
        )
        if _least_s(use, long) > GROWTH * _least_s(use, short):
            return repr(text[:60])
    return ""


def _least_s(use: Use, text: str) -> float:
    return min(_took_s(use, text) for _ in range(3))


def _took_s(use: Use, text: str) -> float:
    is_bytes = isinstance(use.pattern.pattern, bytes)
    given: Any = text.encode("latin-1", "replace") if is_bytes else text
    begin = time.thread_time()
    use.pattern.fullmatch(given)
    if use.searched:
        for _ in use.pattern.finditer(given):
            pass
    else:
        use.pattern.match(given)
    return time.thread_time() - begin


@pytest.mark.slow
@pytest.mark.parametrize("quadratic", [r"(a+)=", r"b.*c"])
def test_a_quadratic_pattern_is_noticed(quadratic: str) -> None:
    assert superlinear(Use(re.compile(quadratic), searched=True))


@pytest.mark.slow  # loads every module, and tries each pattern on some hundred texts
def test_every_pattern_takes_time_in_proportion_to_its_text() -> None:
    found: dict[tuple[Any, int], Use] = {}
    for use in (*written(), *held()):
        before = found.get((use.pattern.pattern, use.pattern.flags))
        if before is None or use.searched:
            found[use.pattern.pattern, use.pattern.flags] = use
    assert len(found) > 60
    slow = {text: attack for (text, _), use in found.items() if (attack := superlinear(use))}
    assert slow == {}
