"""The answer of searches: how much each layout carries, and when that is no difference."""

from moeserve.cli.search_answer import search_answers


def row(strategy: str, highest: float | None, *, complete: bool = True) -> dict[str, object]:
    return {
        "model": "m", "workload": "w", "strategy": strategy, "highest": highest,
        "complete": complete,
    }  # fmt: skip


def test_single_searches_are_ranked_and_not_called_a_difference() -> None:
    (line,) = search_answers([row("ep", 13), row("tp", 16)])
    assert line == (
        "m w: highest load within the limits: tp 16, ep 13; one search of each, which says nothing "
        "of run-to-run variation"
    )


def test_repeated_searches_are_ranges_and_an_overlap_is_said() -> None:
    apart = [row("tp", 16), row("tp", 18), row("ep", 12), row("ep", 13)]
    (line,) = search_answers(apart)
    assert line == "m w: highest load within the limits: tp 16 to 18, ep 12 to 13"
    (line,) = search_answers([*apart, row("ep", 17)])
    assert line.endswith("ep 12 to 17; the searches of the first two overlap")


def test_a_search_that_did_not_end_or_a_layout_alone_is_no_comparison() -> None:
    assert list(search_answers([row("tp", 16), row("ep", 13, complete=False)])) == []
    assert list(search_answers([row("tp", 16), row("tp", 17)])) == []


def test_a_layout_that_met_the_limits_at_no_load_carries_none() -> None:
    (line,) = search_answers([row("tp", 2), row("ep", None)])
    assert "tp 2, ep none that was tried;" in line
