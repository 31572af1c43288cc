"""The quick items run: their commands, and whether what is said of them comes out."""

import json
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from catalog.errors import MoeserveError, RunFailed
from catalog.python import python_module
from moeserve.papers.item import PaperItem, Reading, Value, Verdict, alike
from moeserve.papers.reading import value_of
from orchestrator.results.record import Row

SAME = 0.005
"""Numbers of one model on two machines differ by less."""
LONGEST_S = 300.0
PROGRAM = "moeserve"


@dataclass(frozen=True, slots=True)
class CheckedItem:
    """An item with what its readings gave just now."""

    item: PaperItem
    values: tuple[Value | None, ...]
    failed: str = ""
    """Why its command gave no values, which says nothing of the paper."""

    @property
    def verdict(self) -> Verdict:
        return verdict_of(self.item, self.values)

    @property
    def as_stated(self) -> bool:
        """Whether every figure, and the verdict that follows from them, is what the list says."""
        pairs = zip(self.item.readings, self.values, strict=True)
        return (
            not self.failed
            and self.verdict == self.item.verdict
            and all(alike(value, reading.gives, SAME) for reading, value in pairs)
        )


def verdict_of(item: PaperItem, values: Sequence[Value | None]) -> Verdict:
    """What values make of an item's claims; the item's own word where the paper claims nothing.

    An item of which something is left to show is in part at best, and may be none at all: figures
    that agree with the paper because they are the paper's prove nothing.
    """
    pairs = zip(item.readings, values, strict=True)
    agreed = [reading.agrees(value) for reading, value in pairs if reading.claims]
    if not agreed:
        return item.verdict
    if all(agreed) and item.left:
        return "cannot be" if item.verdict == "cannot be" else "in part"
    if all(agreed):
        return "reproduced"
    return "in part" if any(agreed) else "contradicted"


def said(reading: Reading, value: Value | None) -> str:
    """A figure beside the paper's."""
    text = f"{reading.what}: {shown(value)}"
    if reading.printed is not None:
        return f"{text} (paper: {shown(reading.printed)})"
    limits = [
        f"{word} {shown(limit)}"
        for word, limit in (("at least", reading.at_least), ("at most", reading.at_most))
        if limit is not None
    ]
    return f"{text} (paper: {', '.join(limits)})" if limits else text


def shown(value: Value | None) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if value.is_integer() and abs(value) < 1e6:
        return f"{value:,.0f}"
    if abs(value) >= 1e6:
        return f"{value / 1e9:.4g}e9"
    return f"{value:.4g}"


def commands(text: str) -> Iterator[tuple[list[str], str]]:
    """Yield each step's arguments and the file that takes what it prints, if any."""
    for step in text.split(" && "):
        words, _, file = step.partition(" > ")
        program, *arguments = shlex.split(words)
        assert program == PROGRAM, f"{text}: a command of {PROGRAM}"
        yield arguments, file.strip()


@dataclass(slots=True)
class Checker:
    """Runs commands in one folder, each once however many items ask for it."""

    folder: Path
    _rows: dict[str, list[Row]] = field(default_factory=dict)
    _written: dict[str, list[str]] = field(default_factory=dict)

    def check(self, item: PaperItem) -> CheckedItem:
        """Run an item's command and take its readings; one that fails hides no other."""
        try:
            rows = self.rows(item.command)
            return CheckedItem(item, tuple(value_of(each, rows) for each in item.readings))
        except MoeserveError as error:
            return CheckedItem(item, (None,) * len(item.readings), str(error))

    def rows(self, command: str) -> list[Row]:
        """Return what the last step of a command prints, as rows."""
        if command not in self._rows:
            *before, (last, _) = commands(command)
            for arguments, file in before:
                if self._written.get(file) != arguments:
                    (self.folder / file).write_text(self._run(arguments), encoding="utf-8")
                    self._written[file] = arguments
            found = json.loads(self._run([*last, "--format", "json"]))
            self._rows[command] = found if isinstance(found, list) else [found]
        return self._rows[command]

    def _run(self, arguments: Sequence[str]) -> str:
        try:
            done = subprocess.run(
                [*python_module(PROGRAM), *arguments],
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=LONGEST_S,
            )
        except subprocess.TimeoutExpired as error:
            took = f"took longer than {LONGEST_S:.0f} s, and was ended"
            raise RunFailed(f"{PROGRAM} {shlex.join(arguments)}: {took}") from error
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no word"])[-1]
            raise RunFailed(f"{PROGRAM} {shlex.join(arguments)}: exit {done.returncode}: {last}")
        return done.stdout
