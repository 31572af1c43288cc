"""Columns made of buffers are those that Arrow itself makes, and no study waits for pandas."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from orchestrator.results.columns import column
from orchestrator.results.rows import SCHEMA, write_parquet

INT32 = st.integers(-(2**31), 2**31 - 1)
TIMES = arrays(np.float64, st.integers(0, 5), elements=st.floats())
VALUES = {
    pa.int32(): st.lists(st.none() | INT32, max_size=20),
    pa.float64(): st.lists(st.none() | st.floats(), max_size=20),
    pa.string(): st.lists(st.text(), max_size=20),
    pa.list_(pa.float64()): st.lists(TIMES, max_size=20),
}


@pytest.mark.slow
@given(st.sampled_from(list(VALUES)).flatmap(lambda kind: st.tuples(st.just(kind), VALUES[kind])))
def test_a_column_is_the_one_that_arrow_makes_of_the_same_values(
    given: tuple[pa.DataType, list[object]],
) -> None:
    kind, values = given
    made = column(values, kind)
    made.validate(full=True)
    assert made.null_count == sum(value is None for value in values)
    # As texts, for NaN is no equal of itself.
    assert str(made.to_pylist()) == str(pa.array(values, type=kind).to_pylist())


def test_a_number_that_its_column_cannot_hold_is_no_other_number() -> None:
    with pytest.raises(OverflowError):
        column([2**31], pa.int32())


def test_a_run_without_a_request_has_a_file_without_rows(tmp_path: Path) -> None:
    write_parquet(tmp_path / "none.parquet", "a-r0", [])
    assert pq.read_table(tmp_path / "none.parquet").equals(SCHEMA.empty_table())


def test_a_run_s_file_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("what was there")
    with pytest.raises(FileExistsError):
        write_parquet(tmp_path / "a.parquet", "a-r0", [])
    assert (tmp_path / "a.parquet").read_text() == "what was there"


@pytest.mark.slow
def test_a_simulated_study_loads_no_http_client_and_pandas_for_its_answer_alone(
    tmp_path: Path,
) -> None:
    study = ["run", "--engine", "simulated", "-s", "tp", "-w", "16:4:3", "-c", "1", "-o", "out"]
    program = (
        "import sys; import moeserve.cli.answer as answer\n"
        "answer.say_answer_of = lambda *_: None\n"
        "from moeserve.cli import main\n"
        f"try: main({study!r})\n"
        "except SystemExit as ended: assert ended.code == 0\n"
        "assert 'orchestrator.results.rows' in sys.modules\n"
        "print('not needed:', {'pandas', 'aiohttp', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "not needed: set()" in done.stdout
