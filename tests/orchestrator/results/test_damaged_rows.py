"""Request rows that are no longer what was published are refused before Arrow opens them.

Of some damaged footers Arrow ends the process, and others it reads as other numbers.
"""

import os
import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import ResultsError
from orchestrator.experiment.experiment import Experiment
from orchestrator.results import names
from orchestrator.results.archive import pack
from orchestrator.results.manifests import Manifest
from orchestrator.results.names import Names
from orchestrator.results.rows import write_parquet
from orchestrator.results.store import Store
from orchestrator.table import request_files, request_table
from tests.orchestrator.results.test_store import record, row


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("damaged") / "study"
    store = Store(root)
    store.create(Experiment())
    _, folder = store.new_attempt("a-r0")
    write_parquet(folder / "requests.parquet", "a-r0", [row(number) for number in range(3)])
    files = (store.stored(folder / "requests.parquet"),)
    store.publish(Manifest(record=record(), files=files))
    return root


@given(st.data())
def test_no_flipped_bit_is_read_as_something_else(study: Path, data: st.DataObject) -> None:
    (path,) = request_files(study)
    assert isinstance(path, Path)
    whole = path.read_bytes()
    place = data.draw(st.integers(0, 8 * len(whole) - 1))
    harmed = bytearray(whole)
    harmed[place // 8] ^= 1 << place % 8
    try:
        path.write_bytes(harmed)
        with pytest.raises(ResultsError, match=r"requests\.parquet: is not the file that was"):
            request_table(study)
    finally:
        path.write_bytes(whole)
    assert request_table(study).num_rows == 3


def ends_its_process(_: bytes) -> list[str]:
    """As Arrow does for the footers that it asserts of."""
    os.abort()


@pytest.mark.slow
def test_what_no_record_vouches_for_is_read_by_another_process_which_may_end(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "study"
    shutil.copytree(study, root)
    packed, own = tmp_path / "a.tar.zst", names.parquet_texts
    monkeypatch.setattr(names, "parquet_texts", called := Mock(side_effect=own))
    pack(root, packed, Names.asked(root, kept=False))
    assert called.call_count == 1, "a published file is read here"
    _, cut_off = Store(root).new_attempt("b-r0")
    write_parquet(cut_off / "requests.parquet", "b-r0", [row(0)])
    monkeypatch.setattr(names, "parquet_texts", own)
    pack(root, tmp_path / "b.tar.zst", Names.asked(root, kept=False))
    monkeypatch.setattr(names, "parquet_texts", ends_its_process)
    with pytest.raises(ResultsError, match=r"b-r0\.a1/requests\.parquet: is damaged, and ends"):
        Names.asked(root, kept=False).refuse_in(cut_off / "requests.parquet", b"", published=False)
