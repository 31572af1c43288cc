"""Which files of tests may notice a change, the likeliest first."""

import ast
import sqlite3
from pathlib import Path


class Nearby:
    """The quick tests of a module's package that ran a line of it."""

    def __init__(self, root: Path, measured: Path | None) -> None:
        self.root = root
        self.ran = _ran(measured) if measured else {}
        lines = [tests for by_line in self.ran.values() for tests in by_line.values()]
        self.measured = set().union(*lines)

    def files(self, path: str, line: int) -> list[str]:
        """Return the package's files of tests that ran a line, nearest first.

        A line that is run by importing alone, or that no test ran, is everybody's who ran any of
        the module; a file that was not there when lines were measured is always tried.
        """
        package = path.split("/")[0]
        found = {str(each.relative_to(self.root))
                 for each in (self.root / "tests" / package).rglob("test_*.py")}  # fmt: skip
        by_line = self.ran.get(path, {})
        if by_line:
            of_line = by_line.get(line, set()) if self._in_function(path, line) else set()
            found &= (of_line or set().union(*by_line.values())) | (found - self.measured)
        return sorted(found, key=lambda test: (_distance(path, test), test))

    def _in_function(self, path: str, line: int) -> bool:
        tree = ast.parse((self.root / path).read_text())
        return any(
            node.body[0].lineno <= line <= (node.end_lineno or 0)
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        )


def _distance(path: str, test: str) -> tuple[int, int]:
    """Count what the two paths do not share; a file of the module's own name comes first."""
    module, tests = Path(path), Path(test)
    own = tests.stem == f"test_{module.stem}"
    rooms, test_rooms = module.parts[:-1], tests.parts[1:-1]
    shared = sum(a == b for a, b in zip(rooms, test_rooms, strict=False))
    return (0 if own else 1, len(rooms) + len(test_rooms) - 2 * shared)


def _ran(measured: Path) -> dict[str, dict[int, set[str]]]:
    """Read which contexts ran which line, from the arcs that measured branches are."""
    with sqlite3.connect(f"file:{measured}?mode=ro", uri=True) as data:
        names = dict(data.execute("select id, path from file"))
        contexts = dict(data.execute("select id, context from context"))
        arcs = data.execute("select distinct file_id, context_id, abs(tono) from arc").fetchall()
    ran: dict[str, dict[int, set[str]]] = {}
    for file, test, line in arcs:
        if contexts[test]:
            ran.setdefault(names[file], {}).setdefault(line, set()).add(contexts[test])
    return ran
