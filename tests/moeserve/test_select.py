"""`moeserve select` on the command line: what it prints, says beside it, and refuses."""

import json
from pathlib import Path

import pytest

from moeserve.cli import main


def called(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["select", *words])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def table(tmp_path: Path, text: str) -> str:
    path = tmp_path / "table.csv"
    path.write_text("\n".join(line.strip() for line in text.strip().splitlines()) + "\n")
    return str(path)


def test_a_decimal_size_is_answered_in_both_readings(capsys: pytest.CaptureFixture[str]) -> None:
    ask = ("mixtral-a6000", "--minimize", "tpot_s", "--subject-to")
    code, out, err = called(capsys, *ask, "gpu_memory_mib <= 16 GB", "--format", "json")
    assert code == 0
    assert json.loads(out)[0]["method"] == "Mixtral-Offloading (expert=4)"
    assert (
        "gpu_memory_mib <= 16 GB is 15258.8 MiB, a decimal size; with gpu_memory_mib <= 16 GiB "
        "(16384 MiB) the choice would be Mixtral-Offloading (expert=2)" in err
    )
    assert "the choice is the same" in called(capsys, *ask, "gpu_memory_mib <= 0.03 TB")[2]
    code, _, err = called(capsys, *ask, "gpu_memory_mib <= 5.2 GB")
    assert code == 4
    assert "(5324.8 MiB) the choice would be Fiddler" in err
    assert "nothing meets it either" in called(capsys, *ask, "gpu_memory_mib <= 5000 kB")[2]
    assert "decimal" not in called(capsys, *ask, "gpu_memory_mib <= 16 GiB")[2]


def test_a_limit_without_its_unit_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    ask = ("mixtral-a6000", "--minimize", "tpot_s", "--subject-to")
    code, out, err = called(capsys, *ask, "gpu_memory_mib <= 16")
    assert (code, out) == (2, "")
    assert "16 GiB or 16 MiB?" in err
    code, _, err = called(capsys, *ask, "memory <= 16 GiB")
    assert code == 2
    assert "no column 'memory'; did you mean gpu_memory_mib?" in err


def test_latency_needs_a_length_to_be_derived(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = called(capsys, "mixtral-a6000", "--minimize", "latency_s")
    assert code == 2
    assert "--output-len N derives latency_s" in err
    code, out, err = called(
        capsys, "mixtral-a6000", "--minimize", "latency_s", "--output-len", "256",
        "--subject-to", "latency_s <= 2 min", "--format", "json",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)[0]["latency_s"] == pytest.approx(67.21)
    assert "equation 1" in err


def test_points_between_rows_of_two_gpus_are_not_made(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = table(
        tmp_path,
        """method,gpu_type,provenance,tpot_s
        off (expert=2),H100,measured,0.2
        off (expert=4),A100,measured,0.8
        off (expert=6),H100,measured,0.4""",
    )
    ask = (rows, "--minimize", "tpot_s", "--interpolate", "expert=4", "--format", "json")
    code, out, _ = called(capsys, *ask)
    made = next(row for row in json.loads(out) if row["derived"])
    assert code == 0
    assert made["tpot_s"] == pytest.approx(0.3)
    assert (made["gpu_type"], made["provenance"]) == ("H100", "interpolated")
    code, _, err = called(capsys, *ask, "--where", "method=off (expert=2),off (expert=4)")
    assert code == 2
    assert "differ in expert alone" in err


def test_what_a_choice_is_mostly_made_for_is_named_where_it_is_among_several(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = table(
        tmp_path,
        """model,strategy,workload,max_concurrency,num_prompts,provenance,output_throughput
        A,tp,short,16,100,simulated,900
        A,ep,long,128,20,simulated,1000""",
    )
    _, _, err = called(capsys, rows, "--maximize", "output_throughput")
    assert "choice: ep (" in err
    assert "among several values of workload (long, short): --where workload=VALUE" in err
    assert "these numbers are simulated, not measured" in err
    assert "max_concurrency was not reached" in err


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        (["", ""], "column 'tput' is empty: no row has a value"),
        (["nan", "NA"], "column 'tput' is empty: no row has a value"),
        (["10", "fast"], "column 'tput' holds text, not numbers, row 2: 'fast' is no number"),
        (["slow", "fast"], "column 'tput' holds text, not numbers\n"),
        (["10", "inf"], "column 'tput', row 2: not a finite number"),
    ],
)
def test_a_column_without_numbers_says_what_it_has(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, cells: list[str], problem: str
) -> None:
    rows = table(tmp_path, f"method,tput\na,{cells[0]}\nb,{cells[1]}")
    code, _, err = called(capsys, rows, "--maximize", "tput")
    assert code == 2
    assert problem in err


def test_a_table_without_numbers_says_what_it_has(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = table(tmp_path, "method,note\na,x\nb,y")
    code, _, err = called(capsys, rows, "--maximize", "speed")
    assert code == 2
    assert "no column 'speed'; none holds numbers: method, note" in err


def test_runs_of_which_none_counts_leave_nothing_to_choose(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = table(tmp_path, "method,verdict,tput\na,invalid,1\nb,failed,2")
    code, _, err = called(capsys, rows, "--maximize", "tput")
    assert code == 4
    assert "none of 2 rows counts" in err


def test_an_estimate_of_what_cannot_be_is_refused_for_that_reason_and_is_no_choice_of_workloads(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lines = ("strategy,workload,tput,feasible,why", "tp,chat,5,True,", "single,,,False,too heavy")
    code, out, err = called(capsys, table(tmp_path, "\n".join(lines)), "--maximize", "tput")
    assert code == 0
    assert "cannot be: too heavy" in out
    assert "unknown" not in err
    assert "ranked together" not in err
