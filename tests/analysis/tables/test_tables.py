"""The paper's tables from a run table: means, ratios, what their intervals are over, and text."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis.tables import render
from analysis.tables.cells import TableCell
from analysis.tables.paper_tables import tables
from analysis.tables.table import Table
from catalog.errors import BadFile, BadValue, InputError, UnknownName
from perfmodel import reference

Study = Callable[..., pd.DataFrame]


def cell(table: Table, row: str, column: str) -> TableCell:
    return dict(zip(table.columns, dict(table.rows)[row], strict=True))[column]


def test_the_papers_own_tables_agree_with_each_other() -> None:
    """Table V is Table IV over two or four GPUs, and the text's EP/TP follows from Table IV."""
    total = reference.values(
        "parallelism_table4_throughput", ("model", "strategy"), "output_throughput_tok_s"
    )
    each = reference.values(
        "parallelism_table5_per_gpu", ("model", "strategy"), "throughput_per_gpu_tok_s"
    )
    for (model, strategy), value in total.items():
        gpus = 4 if strategy == "tp+ep" else 2
        assert each[model, strategy] == pytest.approx(value / gpus, abs=0.051)
    share = total["Mixtral-8x7B", "ep"] / total["Mixtral-8x7B", "tp"]
    assert share == pytest.approx(0.854, abs=5e-4)


@pytest.mark.slow
def test_table_iv_is_the_mean_over_conditions(study: Study) -> None:
    rows = study()
    four = tables(rows, ("IV",))[0]
    here = rows[(rows["model"] == "OLMoE-1B-7B") & (rows["strategy"] == "ep")]
    found = cell(four, "OLMoE-1B-7B", "EP")
    assert found.value == pytest.approx(here["output_throughput"].mean(), rel=1e-9)
    assert (found.n, found.over) == (21, "conditions")
    assert four.columns == ("TP", "EP", "Hybrid", "EP/TP")


@pytest.mark.slow
def test_ep_over_tp_is_the_ratio_of_the_two_means(study: Study) -> None:
    four = tables(study(), ("IV",))[0]
    ep, tp = (cell(four, "Mixtral-8x7B", name).value for name in ("EP", "TP"))
    assert cell(four, "Mixtral-8x7B", "EP/TP").value == pytest.approx(100 * ep / tp, rel=1e-9)


@pytest.mark.slow
def test_replicates_make_the_interval_and_launches_count_once(study: Study) -> None:
    rows = study(4)
    found = cell(tables(rows, ("IV",))[0], "Mixtral-8x7B", "TP")
    here = rows[(rows["model"] == "Mixtral-8x7B") & (rows["strategy"] == "tp")]
    means = here.groupby("replicate")["output_throughput"].mean()
    half = 3.182446305284263 * means.std(ddof=1) / 2  # t of 3 degrees of freedom, 97.5 %
    assert (found.n, found.over) == (84, "replicates")
    assert found.high == pytest.approx(found.value * np.exp(half / found.value), rel=1e-9)
    assert found.low == pytest.approx(found.value / np.exp(half / found.value), rel=1e-9)


@pytest.mark.slow
def test_replicates_of_one_launch_are_one_in_a_table(study: Study) -> None:
    rows = study(4)
    pair = (rows["replicate"] // 2).astype(str)
    twice = rows.assign(server_group=rows["model"] + "." + rows["strategy"] + "." + pair)
    found = cell(tables(twice, ("IV",))[0], "Mixtral-8x7B", "TP")
    here = rows[(rows["model"] == "Mixtral-8x7B") & (rows["strategy"] == "tp")]
    means = here.groupby(here["replicate"] // 2)["output_throughput"].mean()
    half = 12.706204736432095 * means.std(ddof=1) / np.sqrt(2)
    assert found.value == pytest.approx(here["output_throughput"].mean(), rel=1e-9)
    assert found.high == pytest.approx(found.value * np.exp(half / found.value), rel=1e-9)
    once = rows.assign(server_group=rows["model"] + "." + rows["strategy"])
    made = tables(once, ("IV",))[0]
    assert cell(made, "Mixtral-8x7B", "TP").over != "replicates"
    assert any("one server launch" in note for note in made.notes)


@pytest.mark.slow
def test_table_vi_is_by_workload_and_stands_beside_the_paper(study: Study) -> None:
    six = tables(study(), ("VI",))[0]
    assert six.columns == ("Decode", "Prefill", "Balanced")
    assert cell(six, "Qwen1.5-MoE-A2.7B", "Decode").paper == 111.4
    assert cell(six, "Mixtral-8x7B", "Decode").value == pytest.approx(90, abs=6)


def test_table_vii_compares_dense_with_moe() -> None:
    published = reference.table("parallelism_table7_diffusion")
    runs = [
        {
            "model": model,
            "kind": kind,
            "steps": int(r["value"]) if r["sweep"] == "steps" else 64,
            "generation_length": int(r["value"]) if r["sweep"] != "steps" else 128,
            "tokens_per_s": float(r[column]),
        }
        for r in published
        for model, kind, column in (
            ("LLaDA-8B", "dense", "dense_tok_s"),
            ("LLaDA-MoE-7B", "moe", "moe_tok_s"),
        )
    ]
    seven = tables(pd.DataFrame(runs))[0]
    assert [name for name, _ in seven.rows][:2] == ["Steps = 32", "Steps = 64"]
    assert cell(seven, "Steps = 32", "Ratio").value == pytest.approx(99.1 / 10.1)
    assert cell(seven, "Gen len = 256", "Dense").paper == 96.1


def test_a_strategy_that_misses_conditions_is_pointed_out(study: Study) -> None:
    rows = study()
    rows = rows[(rows["strategy"] != "tp+ep") | (rows["max_concurrency"] < 64)]
    note = tables(rows, ("IV",))[0].notes[0]
    assert "different conditions" in note
    assert "tp+ep 15" in note


@pytest.mark.slow
def test_only_the_tables_that_columns_allow_are_made(study: Study) -> None:
    rows = study().drop(columns=["output_throughput_per_gpu", "workload"])
    assert [t.number for t in tables(rows)] == ["IV"]
    with pytest.raises(BadFile, match="output_throughput_per_gpu"):
        tables(rows, ("V",))
    with pytest.raises(UnknownName, match="VII"):
        tables(rows, ("VIII",))
    with pytest.raises(InputError):
        tables(rows, ("VII",))


def test_mixed_provenance_is_refused(study: Study) -> None:
    both = pd.concat([study(), study(provenance="measured", seed=1)], ignore_index=True)
    with pytest.raises(BadValue, match="never pooled"):
        tables(both)


@pytest.mark.slow
def test_every_format_says_simulated_the_interval_and_the_paper(study: Study) -> None:
    table = tables(study(2), ("IV",))[0]
    for text in (render.terminal(table, paper=True), render.markdown(table, paper=True)):
        assert "Table IV (simulated)" in text
        assert "95 % intervals over replicates" in text
        assert "(paper 672.4)" in text
    assert r"95 \% intervals" in render.latex(table)
    assert render.latex(table).count(r"\\") == 4
    names = {"table", "row", "column", "value", "low", "high", "n", "paper"}
    assert names <= set(table.flat()[0])


HOSTILE = "\x1b[31m=cmd|' /C calc'!A0 & <b>_x_ $\\frac{1}{0}$ 100% #1 ~^"


def hostile_table(study: Study) -> Table:
    rows = study(model=HOSTILE)
    return tables(rows, ("IV",))[0]


def test_hostile_names_are_inert_in_every_format(study: Study) -> None:
    table: Table = hostile_table(study)
    terminal, latex = render.terminal(table), render.latex(table)
    assert "\x1b" not in terminal + latex + render.markdown(table)
    assert "<b>" not in render.markdown(table)
    body = latex.split(r"\midrule")[1]
    assert r"\textbackslash{}frac\{1\}" in body
    assert r"100\% \#1 \textasciitilde{}\textasciicircum{}" in body


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (672.4321, "672.4"),
        (0.95, "0.9500"),
        (9.99999, "10.00"),
        (3070.0, "3070"),
        (1e-9, "1e-09"),
    ],
)
def test_numbers_have_four_digits(value: float, text: str) -> None:
    assert render.number(value) == text
