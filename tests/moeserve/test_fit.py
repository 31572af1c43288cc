"""A table in any terminal: no number is cut, no text is lost, what does not fit is named."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moeserve.cli import table
from moeserve.cli.fit import KEPT, Column, Fitted, fit, lifted, wrapped
from moeserve.cli.table import shown

WORDS = st.text("abcdefghij -", min_size=1, max_size=60).filter(lambda text: text.strip(" -"))
NUMBERS = st.one_of(
    st.integers(-(10**12), 10**12), st.floats(allow_nan=False, allow_infinity=False)
).map(shown)
NAMES = ("model", "strategy", "ratio", "p", "reason", "verdict", "a_low", "a_high", "x", "y")


@st.composite
def tables(draw: st.DrawFn) -> list[Column]:
    rows = draw(st.integers(1, 5))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=9, unique=True))
    made = []
    for name in names:
        numeric = draw(st.booleans())
        cells = draw(st.lists(NUMBERS if numeric else WORDS, min_size=rows, max_size=rows))
        made.append(Column(name, draw(WORDS), cells, numeric))
    return made


@pytest.mark.slow
@settings(max_examples=200)
@given(columns=tables(), width=st.integers(20, 220))
def test_whatever_stands_is_whole_and_whatever_does_not_is_named(
    columns: list[Column], width: int
) -> None:
    found = fit(columns, width)
    kept = [each for each, _ in found.kept]
    names = {each.name for each in columns}
    assert {each.name for each in kept} | {each.name for each in found.dropped} == names
    assert not {each.name for each in kept} & {each.name for each in found.dropped}
    order = [each.name for each in columns if each.name in {k.name for k in kept}]
    assert [each.name for each in kept] == order
    for each, given_width in found.kept:
        for text in each.cells:
            lines = [text] if each.is_numeric else wrapped(text, given_width)
            assert all(len(line) <= given_width for line in lines)
            assert each.is_numeric or "".join("".join(lines).split()) == "".join(text.split())
    total = 1 + sum(w + 3 for _, w in found.kept)
    assert total <= width or len(kept) == 1


@pytest.mark.slow
@settings(max_examples=100)
@given(columns=tables(), width=st.integers(20, 220))
def test_notes_hold_every_sentence_that_a_number_stands_for(
    columns: list[Column], width: int
) -> None:
    found = fit(columns, width)
    by_number = dict(re.findall(r"^(\[\d+\]) (.*)$", "\n".join(found.notes), re.M))
    before = {each.name: each for each in columns}
    for each, _ in found.kept:
        for text, told in zip(each.cells, before[each.name].cells, strict=True):
            assert text == told or by_number[text] == told


def test_half_a_range_never_stands_alone() -> None:
    wide = [Column(name, name, ["1234567890"], True) for name in ("x", "ratio_low", "ratio_high")]
    found = fit(wide, 30)
    assert [each.name for each, _ in found.kept] == ["x"]
    assert {each.name for each in found.dropped} == {"ratio_low", "ratio_high"}


def test_in_a_pipe_nothing_is_left_out_or_folded() -> None:
    long = Column("reason", "reason", ["word " * 200], False)
    found = fit([Column("p", "p", ["0.5"], True), long], None)
    assert (found.dropped, found.notes) == ((), ())
    assert found.kept[1][1] == 1000


def test_what_a_table_is_read_for_goes_last() -> None:
    columns = [
        Column("first", "first", ["1"], True),
        *(Column(name, name, ["123456"], True) for name in ("other", *KEPT[-2:], "mean_e2el_ms")),
    ]
    stands = [{each.name for each, _ in fit(columns, width).kept} for width in (52, 37, 25)]
    assert "mean_e2el_ms" not in stands[0]
    assert "other" not in stands[1]
    assert stands[2] == {"first", KEPT[-1]}


def test_labels_head_the_parts_of_a_table_only_where_their_rows_stand_together() -> None:
    def column(name: str, *cells: str) -> Column:
        return Column(name, name, cells, False)

    values = Column("output_throughput", "tok/s", ["1"] * 4, True)
    strategy = column("strategy", *"abab")
    together = [column("model", *["m" * 12] * 2, *["n" * 12] * 2), strategy, values]
    assert lifted(together, 30) == ("model",)
    assert lifted(together, 80) == ()
    mixed = [column("model", *["m" * 12, "n" * 12] * 2), strategy, values]
    assert lifted(mixed, 30) == ()


def test_numbers_read_alike_whether_whole_or_not() -> None:
    assert [shown(v) for v in (46702792704, 42402064630.0, 9999.6, 10000, 1234, 1234.5)] == [
        "46,702,792,704", "42,402,064,630", "10,000", "10,000", "1234", "1234",
    ]  # fmt: skip
    assert shown(float("nan")) == shown(None) == ""


@pytest.mark.parametrize("widths", [(12, 4, 9), (44, 4, 44)])
def test_many_rows_stand_as_rich_draws_them(
    widths: tuple[int, int, int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = ["one", "", "a text of many words that wraps", "二つ", "one", "x" * 40]
    columns = [
        Column("reason", "why it is so", texts, False),
        Column("p", "p", ["1", "", "22.5", "22.5", "1", "3"], True),
        Column("model", "model", texts[::-1], False),
    ]
    drawn = []
    for most in (300, 1):
        monkeypatch.setattr(table, "MOST_DRAWN", most)
        table._print(Fitted(tuple(zip(columns, widths, strict=True)), ()), range(len(texts)))
        drawn.append(capsys.readouterr().out)
    assert drawn[0] == drawn[1]
    assert drawn[0].count("\n") >= 4 + len(texts)


def test_what_a_row_is_of_stays_longer_than_its_figures() -> None:
    rows = {
        "strategy": ["tp", "tp"],
        "technique": ["none", "fp8"],
        "output_throughput": ["84.17", "135.6"],
        "mean_ttft_ms": ["55.05", "40.96"],
        "bound": ["memory", "launch"],
    }
    columns = [
        Column(name, name, cells, name.endswith(("put", "ms"))) for name, cells in rows.items()
    ]
    kept = [column.name for column, _ in fit(columns, 50).kept]
    assert kept == ["strategy", "technique", "output_throughput"]
