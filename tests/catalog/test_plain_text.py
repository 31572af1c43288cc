"""What others wrote is shown without what a terminal obeys, in every place where text leaves."""

import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.csv_text import csv_text
from catalog.plain_text import LONGEST_NOTE, escaped_json, message, plain
from moeserve.cli.show import Format, note, print_json, show

HOSTILE = {
    "clipboard": "\x1b]52;c;eA==\x07",
    "C1": "\x9b31m",
    "bidi": "\u202egnp.exe",
    "isolate": "\u2066a\u2069",
    "delete": "a\x7f",
    "line": "a\u2028b\u0085c",
    "half": "\ud800",
    "wide": "\u200b\ufeff",
}
ANY = st.text(st.characters(), max_size=40)


def obeyed(text: str) -> set[str]:
    """What is in a text that a terminal would act upon."""
    return {
        char for char in text
        if char not in "\n\t\r" and unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    }  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("output", list(Format))
def test_nothing_that_a_command_prints_drives_a_terminal(
    capsys: pytest.CaptureFixture[str], output: Format, text: str
) -> None:
    show([{"model": f"m{text}", f"x{text}": 1}, {"model": f"n{text}"}], output)
    note(f"server: {text}\nsecond line")
    printed = capsys.readouterr()
    unseen = {"\u200b", "\ufeff"} if output is Format.csv else set()  # they stay in a file's cells
    assert obeyed(printed.out) <= unseen
    assert obeyed(printed.err) == set()
    assert "second line" in printed.err.splitlines()[-1]


@given(ANY)
def test_escaped_json_reads_back_the_same(text: str) -> None:
    escaped = escaped_json(json.dumps({text: text}, ensure_ascii=False, indent=2))
    assert json.loads(escaped) == {text: text}
    escaped.encode()
    assert obeyed(escaped) == set()


def test_every_character_that_a_terminal_obeys_is_escaped_in_json() -> None:
    # Apart from each other: two halves of a pair beside each other would be read as one character.
    every = " ".join(sorted(obeyed("".join(map(chr, range(sys.maxunicode + 1))))))
    escaped = escaped_json(json.dumps(every, ensure_ascii=False))
    same = json.loads(escaped) == every  # a report of what differs could not be encoded
    assert same
    assert obeyed(escaped) == set()


@given(ANY)
def test_plain_text_keeps_its_length_and_what_can_be_printed(text: str) -> None:
    shown = plain(text)
    assert len(shown) == len(text)
    assert shown.isprintable()
    assert [char for char in text if char.isprintable()] == [
        shown[at] for at, char in enumerate(text) if char.isprintable()
    ]


def test_a_message_without_end_is_cut() -> None:
    assert len(message("x" * 10**6)) == LONGEST_NOTE + 1


@pytest.mark.parametrize("unseen", ["\u200b", "\ufeff", "\u2060", "\u00ad", "\u200b \u200d"])
def test_a_formula_behind_characters_without_a_width_is_one_too(unseen: str) -> None:
    text = csv_text([{f"{unseen}=1+1": f"{unseen}=1+1"}])
    assert all(line.startswith("'") for line in text.splitlines())


def test_halves_of_pairs_do_not_end_a_json_result(capsys: pytest.CaptureFixture[str]) -> None:
    print_json([{"a": "\ud800"}])
    assert json.loads(capsys.readouterr().out) == [{"a": "\ud800"}]
