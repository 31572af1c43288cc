"""Folders as tools leave them: what is a run is read, the rest is listed."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from analysis.importers import Labels, import_files, parse_labels
from analysis.importers.names import proposals
from catalog.errors import BadFile, BadValue, InputError, UnknownName
from orchestrator.table import run_rows
from tests.analysis.importers.shapes import STAGE, VLLM


def test_a_mixed_folder_gives_what_it_can_and_lists_the_rest(written: Any, tmp_path: Path) -> None:
    written(STAGE, "exp/stage_0_lifecycle_metrics.json")
    written(STAGE | {"load_summary": {"count": 300}}, "exp/summary_lifecycle_metrics.json")
    counters = {"load_summary": {}, "successes": {"count": 1}, "failures": {}}
    written(counters, "exp/stage_0_prometheus_metrics.json")
    written("{", "exp/damaged.json")
    written("a: b", "exp/notes.txt")
    written(VLLM, "exp/deep/er/v.json")
    found = import_files([tmp_path / "exp"], tmp_path / "out")
    assert {record.output_throughput for record in found.records} == {630, 1000}
    reasons = {skipped.path.name: skipped.reason for skipped in found.skipped}
    assert set(reasons) == {
        "damaged.json", "summary_lifecycle_metrics.json", "stage_0_prometheus_metrics.json",
    }  # fmt: skip
    assert "line 1" in reasons["damaged.json"]
    assert "stage_N" in reasons["summary_lifecycle_metrics.json"]


def test_a_damaged_line_of_a_file_in_a_folder_loses_no_other_line(
    written: Any, tmp_path: Path
) -> None:
    good = json.dumps(VLLM)
    other = json.dumps(VLLM | {"output_throughput": 1400.0})
    bad = json.dumps(VLLM | {"duration": "fast"})
    written("\n".join([good, bad, other, good[:50]]), "exp/lines.jsonl")
    found = import_files([tmp_path / "exp"], tmp_path / "out")
    assert [record.output_throughput for record in found.records] == [1000, 1400]
    (skipped,) = found.skipped
    assert "line 2: duration is 'fast'" in skipped.reason
    assert skipped.reason.endswith("(and 1 more)")


def test_a_folder_without_a_run_says_why(written: Any, tmp_path: Path) -> None:
    written("{", "exp/damaged.json")
    with pytest.raises(BadFile, match=r"holds no result file .*damaged\.json: not valid JSON"):
        import_files([tmp_path / "exp"], tmp_path / "out")


def test_a_summary_named_by_a_pattern_is_no_further_run(written: Any, tmp_path: Path) -> None:
    files = [
        written(STAGE, "stage_0_lifecycle_metrics.json"),
        written(STAGE | {"load_summary": {"count": 9}}, "summary_lifecycle_metrics.json"),
    ]
    found = import_files(files, tmp_path / "out")
    assert len(found.records) == 1
    assert len(found.skipped) == 1
    with pytest.raises(BadValue, match="repeats the stages beside it"):
        import_files(files[1:], tmp_path / "other")


def test_the_source_says_the_folder_and_equal_files_in_two_folders_are_two_runs(
    written: Any, tmp_path: Path
) -> None:
    for folder in ("a", "b"):
        written(STAGE, f"exp/{folder}/stage_0_lifecycle_metrics.json")
    found = import_files([tmp_path / "exp"], tmp_path / "out")
    assert [record.extra["source"] for record in found.records] == [
        "exp/a/stage_0_lifecycle_metrics.json", "exp/b/stage_0_lifecycle_metrics.json",
    ]  # fmt: skip
    assert len({record.cell_id for record in found.records}) == 2


def test_a_copy_beside_its_original_is_one_run(written: Any, tmp_path: Path) -> None:
    written(VLLM, "exp/v.json")
    written(VLLM, "exp/v (1).json")
    found = import_files([tmp_path / "exp"], tmp_path / "out")
    assert len(found.records) == 1
    assert found.skipped[0].reason == "is a copy of v (1).json"


def test_replicates_of_separate_imports_are_numbered_on(written: Any, tmp_path: Path) -> None:
    for index in range(3):
        path = written(VLLM | {"duration": 10.0 + index}, f"exp/run_{index}.json")
        (record,) = import_files([path], tmp_path / "out").records
        assert record.replicate == index
    assert len({row["cell_id"] for row in run_rows(tmp_path / "out")}) == 1


def test_layouts_imported_apart_do_not_share_a_cell(written: Any, tmp_path: Path) -> None:
    for strategy in ("tp2", "tp4"):
        path = written(VLLM | {"date": strategy}, "v.json")
        import_files([path], tmp_path / "out", Labels(strategy=strategy))
    assert len({row["cell_id"] for row in run_rows(tmp_path / "out")}) == 2


def test_importing_again_with_other_labels_replaces_them_and_says_so(
    written: Any, tmp_path: Path
) -> None:
    path = written(VLLM)
    import_files([path], tmp_path / "out")
    found = import_files([path], tmp_path / "out", Labels(strategy="tp8", gpu_type="X"))
    assert len(found.relabelled) == 1
    assert "strategy '' → 'tp8'" in found.relabelled[0]
    again = import_files([path], tmp_path / "out", Labels(gpu_type="Y"))
    assert "gpu_type 'X' → 'Y'" in again.relabelled[0]
    assert import_files([path], tmp_path / "out").known == 1
    (row,) = run_rows(tmp_path / "out")
    assert (row["strategy"], row["gpu_type"], row["num_gpus"]) == ("tp8", "Y", 8)


def test_labels_are_given_by_file_by_pattern_and_by_table(written: Any, tmp_path: Path) -> None:
    files = [written(VLLM | {"date": name}, f"{name}.json") for name in ("a", "b", "c")]
    table = written("file,strategy,num_gpus,note\nc.json,tp4,4,slow\n", "labels.csv")
    texts = ["image=x:1", "a.json:strategy=tp8", "b*:quantization=fp8", str(table)]
    records = import_files(files, tmp_path / "out", Labels(each=parse_labels(texts))).records
    assert [record.strategy for record in records] == ["tp8", "", "tp4"]
    assert [record.extra["image"] for record in records] == ["x:1"] * 3
    assert records[1].extra["quantization"] == "fp8"
    assert (records[2].num_gpus, records[2].extra["note"]) == (4, "slow")


@pytest.mark.parametrize(
    "text", ["x", "a.json:output_throughput=4", "max_concurrency=-1", "request_rate=fast", "n.csv"]
)
def test_labels_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_labels([text])


def test_a_label_for_a_file_that_is_not_there_is_refused(written: Any, tmp_path: Path) -> None:
    labels = Labels(each=parse_labels(["w.json:strategy=tp8"]))
    with pytest.raises(UnknownName, match=r"Did you mean v\.json"):
        import_files([written(VLLM)], tmp_path / "out", labels)


def test_what_names_tell_is_proposed_and_taken_only_when_asked(
    written: Any, tmp_path: Path
) -> None:
    path = written(VLLM, "m_8xh200_tp4ep4_conc64.json")
    found = import_files([path], tmp_path / "out")
    assert (found.records[0].strategy, found.records[0].gpu_type) == ("", "")
    (told,) = found.proposed.values()
    assert told == {"gpu_type": "H200", "num_gpus": 8, "strategy": "tp4+ep"}
    taken = import_files([path], tmp_path / "named", from_name=True).records[0]
    assert (taken.strategy, taken.gpu_type, taken.num_gpus) == ("tp4+ep", "H200", 8)
    assert taken.max_concurrency == 16  # the file's own word wins


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("h100/tp8/conc-16.json", {"gpu_type": "H100", "strategy": "tp8", "max_concurrency": 16}),
        ("res_MI300X_TP2_PP2_qps4.5.json",
         {"gpu_type": "MI300X", "strategy": "pp2+tp2", "request_rate": 4.5}),
        ("dp8_ep8_isl1024_osl128.json",
         {"strategy": "dp8+ep", "input_len": 1024, "output_len": 128}),
        ("ep8-1k8k.json", {"strategy": "dp8+ep", "input_len": 1024, "output_len": 8192}),
        ("SERVE--max_num_seqs=4-BENCH--max_concurrency=8/run=0.json",
         {"max_num_seqs": 4, "max_concurrency": 8}),
        ("concurrency_16/profile_export_aiperf.json", {"max_concurrency": 16}),
        ("model-7b-2026-01-02.json", {}),
    ],
)  # fmt: skip
def test_names_are_read_word_by_word(name: str, told: Any) -> None:
    assert proposals(PurePosixPath(name)) == told
