"""A figure is taken from exactly the rows it is said to be of, or refused."""

import subprocess
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadFile
from moeserve.papers.check import CheckedItem, Checker, commands, said
from moeserve.papers.item import PaperItem, Reading, Value, alike
from moeserve.papers.reading import value_of
from orchestrator.results.record import Row

ROWS: list[Row] = [
    {"model": m, "strategy": s, "load": c, "rate": rate, "tp": True}
    for (m, s, c), rate in {
        ("a", "tp", 1): 10.0, ("a", "ep", 1): 5.0, ("a", "tp", 8): 40.0, ("a", "ep", 8): 44.0,
        ("b", "tp", 1): 4.0, ("b", "ep", 1): 2.0,
    }.items()
]  # fmt: skip


def reading(**given_: object) -> Reading:
    return Reading(**{"what": "x", "column": "rate", "gives": None, **given_})  # type: ignore[arg-type]


def test_one_row_gives_its_value_and_several_are_refused() -> None:
    assert value_of(reading(where={"model": "a", "strategy": "tp", "load": 8}), ROWS) == 40
    with pytest.raises(BadFile, match="2 rows, not one"):
        value_of(reading(where={"model": "a", "strategy": "tp"}), ROWS)


def test_ratios_are_of_rows_that_belong_together() -> None:
    asked = {"where": {"strategy": "ep"}, "over": {"strategy": "tp"}, "match": ("model", "load")}
    assert value_of(reading(**asked, take="most"), ROWS) == 1.1
    assert value_of(reading(**asked, take="least"), ROWS) == 0.5
    assert value_of(reading(**asked, take="count"), ROWS) == 3
    mean = value_of(reading(where={"strategy": "ep"}, over={"strategy": "tp"}, take="mean"), ROWS)
    assert mean == pytest.approx((51 / 3) / (54 / 3))


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"where": {"model": "c"}}, "no such row"),
        ({"where": {"modle": "a"}}, "no column modle"),
        ({"column": "speed", "where": {"model": "b", "strategy": "tp"}}, "no column speed"),
        ({"where": {"strategy": "ep"}, "over": {"strategy": "tp", "load": 1}, "take": "most",
          "match": ("model", "load")}, "nothing to divide by"),
        ({"where": {"strategy": "ep"}, "over": {"strategy": "tp"}, "match": ("model",),
          "take": "most"}, "two rows to divide by"),
        ({"column": "model", "where": {"strategy": "ep"}, "take": "mean"}, "no number"),
        ({"where": {"tp": 1.0}}, "no such row"),
    ],
)  # fmt: skip
def test_what_rows_cannot_give_is_refused(asked: dict[str, object], why: str) -> None:
    with pytest.raises(BadFile, match=why):
        value_of(reading(**asked), ROWS)


@given(st.floats(1e-9, 1e9), st.floats(-0.5, 0.5), st.floats(0.001, 0.4))
def test_numbers_are_alike_within_the_share_and_no_further(
    value: float, off: float, share: float
) -> None:
    if abs(abs(off) - share) > 1e-6:
        assert alike(value * (1 + off), value, share) == (abs(off) < share)


@pytest.mark.parametrize(("value", "other"), [(1.0, True), (0.0, False), (None, 0.0), ("1", 1.0)])
def test_other_kinds_of_value_are_never_alike(value: Value | None, other: Value | None) -> None:
    assert not alike(value, other, 1.0)


def item(verdict: str, *readings: Reading) -> PaperItem:
    return PaperItem(
        paper="qs", item="x", kind="claim", says="x", command="moeserve qs", readings=readings,
        verdict=verdict,
    )  # type: ignore[arg-type]  # fmt: skip


def test_a_figure_that_moved_or_a_verdict_that_turned_is_not_as_stated() -> None:
    near = reading(gives=10.0, printed=10.1)
    assert CheckedItem(item("reproduced", near), (10.0,)).as_stated
    assert not CheckedItem(item("reproduced", near), (10.2,)).as_stated
    assert not CheckedItem(item("contradicted", near), (10.0,)).as_stated
    assert not CheckedItem(item("reproduced", near), (None,)).as_stated
    both = item("in part", near, reading(gives=3.0, at_most=2.0))
    assert CheckedItem(both, (10.0, 3.0)).as_stated
    assert CheckedItem(both, (10.0, 1.0)).verdict == "reproduced"


def test_what_is_left_to_show_is_never_reproduced() -> None:
    near = reading(gives=10.0, printed=10.1)
    part = msgspec.structs.replace(item("in part", near), left="the rest")
    none = msgspec.structs.replace(part, verdict="cannot be")
    assert [CheckedItem(each, (10.0,)).verdict for each in (part, none)] == ["in part", "cannot be"]
    assert CheckedItem(part, (11.0,)).verdict == "contradicted"


def test_figures_are_said_beside_the_paper_s() -> None:
    assert said(reading(gives=1.0, printed=2.5), 1.0) == "x: 1 (paper: 2.5)"
    assert said(reading(gives=1.0, at_least=2.0), 1.0) == "x: 1 (paper: at least 2)"
    assert said(reading(gives=None), None) == "x: none"


def test_steps_of_a_command_are_words_and_files() -> None:
    text = "moeserve estimate -m a --format csv > a.csv && moeserve tables a.csv --by 'x y'"
    assert list(commands(text)) == [
        (["estimate", "-m", "a", "--format", "csv"], "a.csv"),
        (["tables", "a.csv", "--by", "x y"], ""),
    ]


def test_a_command_that_fails_or_never_ends_says_nothing_of_the_paper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if "slow" in words:
            raise subprocess.TimeoutExpired(words, 300)
        return subprocess.CompletedProcess(words, 2, "", "moeserve: no such thing")

    monkeypatch.setattr(subprocess, "run", run)
    near = item("contradicted", reading(gives=10.0, printed=99.0))
    for command, why in (("moeserve slow", "longer than 300 s"), ("moeserve x", "no such thing")):
        found = Checker(tmp_path).check(msgspec.structs.replace(near, command=command))
        assert why in found.failed
        assert not found.as_stated


def test_a_command_is_run_once_for_all_that_ask(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    ran = []

    def run(self: Checker, arguments: list[str]) -> str:
        ran.append(arguments)
        return '{"rate": 2}' if arguments[-1] == "json" else "rate\n2\n"

    monkeypatch.setattr(Checker, "_run", run)
    checker = Checker(tmp_path)
    assert checker.rows("moeserve a > f && moeserve b f") == [{"rate": 2}]
    assert checker.rows("moeserve a > f && moeserve c f") == [{"rate": 2}]
    assert checker.rows("moeserve a > f && moeserve b f") == [{"rate": 2}]
    assert [words[0] for words in ran] == ["a", "b", "c"]
    assert (tmp_path / "f").read_text() == "rate\n2\n"
