"""The analysis commands as a user calls them: output, notes, exit codes."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from catalog.errors import BadValue, MissingExtra
from moeserve.cli import main
from moeserve.cli.inputs import refuse_given

Study = Callable[..., pd.DataFrame]

DATA = Path(__file__).parent / "importers" / "data"


@pytest.fixture
def table(tmp_path: Path, study: Study) -> Path:
    path = tmp_path / "runs.csv"
    study().to_csv(path, index=False)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    try:
        main([str(argument) for argument in arguments])
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.slow
def test_anova_has_the_keys_that_scripts_rely_on(
    capsys: pytest.CaptureFixture[str], table: Path
) -> None:
    code, out, err = run(capsys, "anova", table, "--format", "json")
    rows = json.loads(out)
    assert code == 0
    assert [row["factor"] for row in rows] == ["max_concurrency", "strategy", "model"]
    keys = {"factor", "df", "sum_sq", "f", "p", "eta_squared", "omega_squared"}
    assert all(keys <= set(row) for row in rows)
    assert "simulated, not measured" in err


@pytest.mark.slow
def test_interactions_are_one_model(capsys: pytest.CaptureFixture[str], table: Path) -> None:
    _, out, _ = run(capsys, "anova", table, "--interactions", "--log", "--format", "json")
    rows = json.loads(out)
    assert len(rows) == 7
    assert rows[-1]["factor"] == "max_concurrency × strategy × model"
    assert rows[0]["response"] == "log output_throughput"


@pytest.mark.slow
def test_a_table_stands_beside_the_paper_in_every_format(
    capsys: pytest.CaptureFixture[str], table: Path
) -> None:
    for style in ("table", "markdown", "latex"):
        code, out, _ = run(capsys, "tables", table, "--paper", "-t", "IV", "--format", style)
        assert code == 0
        assert "672.4" in out
    _, out, _ = run(capsys, "tables", table, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert {row["table"] for row in rows} == {"IV", "V", "VI"}
    assert all(row["provenance"] == "simulated" for row in rows)


@pytest.mark.slow
def test_compare_prints_contrasts_pairs_or_crossovers(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, small: Study
) -> None:
    path = tmp_path / "runs.parquet"
    small(3).to_parquet(path)
    _, out, _ = run(capsys, "compare", path, "--by", "model", "--format", "json")
    assert {"ratio", "verdict", "runs_needed", "reason"} <= set(json.loads(out)[0])
    _, out, _ = run(capsys, "compare", path, "--tukey", "--format", "json")
    assert "p_tukey" in json.loads(out)[0]
    _, out, _ = run(capsys, "compare", path, "--crossover", "--format", "csv")
    assert out.startswith("model,workload,strategy,reference,crossover_concurrency")
    code, _, err = run(capsys, "compare", path, "--crossover", "--tukey")
    assert (code, "one of the two" in err) == (2, True)


@pytest.mark.slow
def test_plot_and_report_write_files_and_print_their_names(
    capsys: pytest.CaptureFixture[str], small: Study, tmp_path: Path
) -> None:
    table = tmp_path / "runs.csv"
    small().to_csv(table, index=False)
    code, out, _ = run(capsys, "plot", table, "-k", "bars", "-o", tmp_path / "a.svg")
    assert (code, out.strip()) == (0, str(tmp_path / "a.svg"))
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
    code, out, _ = run(capsys, "report", table, "-o", tmp_path / "r.html")
    assert (code, out.strip()) == (0, str(tmp_path / "r.html"))


@pytest.mark.slow
def test_imported_results_are_analysed_like_any_others(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out_dir = tmp_path / "imported"
    for strategy, name in (("tp", "vllm_bench.json"), ("ep", "guidellm.json")):
        code, out, _ = run(
            capsys, "import", DATA / name, "-o", out_dir, "-s", strategy, "-w", "w", "-m", "m",
            "--format", "json",
        )  # fmt: skip
        assert (code, len(json.loads(out))) == (0, 1)
    code, out, _ = run(capsys, "compare", out_dir, "--format", "json")
    assert code == 0
    assert json.loads(out)[0]["provenance"] == "imported"


BAD = {
    "a missing column": (("anova", "T", "--factor", "strategyy"), "did you mean strategy"),
    "an unknown response": (("compare", "T", "--response", "speed"), "column 'speed' is missing"),
    "an unknown table": (("tables", "T", "-t", "XL"), "unknown table 'XL'"),
    "an unknown plot": (("plot", "T", "-k", "pie", "-o", "x.svg"), "unknown kind of plot 'pie'"),
    "a filter of a figure without rows": (
        ("plot", "T", "-k", "landscape", "--where", "model=x", "-o", "x.svg"),
        "--where: got",
    ),
    "a run of a figure of all": (("plot", "T", "--run", "x", "-o", "x.svg"), "--run: got 'x'"),
    "a load of a figure of all loads": (
        ("plot", "T", "-c", "8", "-o", "x.svg"),
        "--concurrency: got 8",
    ),
    "a margin within which everything is equal": (("compare", "T", "--margin", "inf"), "0 and 1"),
    "another ending": (("plot", "T", "-o", "x.jpeg"), "ends in .svg, .png or .pdf"),
    "no such folder": (("report", "T", "-o", "nowhere/x.html"), "in a folder that exists"),
    "no file": (("anova", "absent.csv"), "absent.csv: no such file"),
    "a load not run": (("plot", "T", "-k", "bars", "-c", "3", "-o", "x.svg"), "concurrency '3'"),
    "a timeline of a table": (
        ("plot", "T", "-k", "timeline", "--run", "x", "-o", "x.svg"),
        "only kept in one",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], table: Path, case: str
) -> None:
    arguments, problem = BAD[case]
    code, out, err = run(capsys, *(table if a == "T" else a for a in arguments))
    assert code == 2
    assert out == ""
    assert problem in err
    assert err.count("\n") == 1


def test_a_missing_library_is_named_with_the_command_that_mends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("analysis.optional_dependencies.PARTS", ("no_such_library",))
    from analysis.optional_dependencies import need_extra

    with pytest.raises(MissingExtra, match=r"pip install 'moeserve\[analysis\]'"):
        need_extra("moeserve report")


def test_a_figure_takes_the_defaults_of_flags_that_it_does_not_look_at(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    drawn = tmp_path / "l.svg"
    code, out, err = run(capsys, "plot", "mixtral-a6000", "-k", "landscape", "-o", drawn)
    assert (code, out.strip()) == (0, str(drawn)), err
    assert drawn.stat().st_size


@pytest.mark.parametrize("value", [None, "", False, []])
def test_a_flag_that_was_not_given_is_not_refused_and_is_allowed(value: object) -> None:
    refuse_given({"--flag": value}, "elsewhere")


@pytest.mark.parametrize("value", [0, 0.0, "x", ["x"], True])
def test_a_flag_that_was_given_is_refused_where_it_is_of_no_use(value: object) -> None:
    with pytest.raises(BadValue, match="--flag: got"):
        refuse_given({"--flag": value}, "elsewhere")
