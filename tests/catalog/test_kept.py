"""Configurations that the catalog keeps: every name, source and count of every one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from catalog.counts import Counts, counts_of
from catalog.errors import NotCounted, UnknownName
from catalog.from_hf import load_model, model_from_config, read_model
from catalog.kept import Kept, find_kept, kept_models
from catalog.model_table import ALIASES, MODELS
from moeserve.models import catalog_rows, listed

KEPT = kept_models()
EXPECTED = Path(__file__).parent / "reader" / "configs.jsonl"
RIGHT = {
    line["model"]: line["right"] for line in map(json.loads, EXPECTED.read_text().splitlines())
}

# 10^9 parameters as publishers round them: model cards, papers and the models' own names.
PUBLISHED = """\
DeepSeek-R1 671
DeepSeek-V3.2 671
DeepSeek-V2-Lite 15.7
ERNIE-4.5-300B-A47B 300
Gemma-4-26B-A4B 25.2
Gemma-4-31B 30.7
Gemma-3-27B-it 27
GLM-4.5-Air 106
GLM-5 744
Granite-4.0-H-Small 32
Hunyuan-A13B-Instruct 80
Kimi-K2-Instruct 1030
Kimi-Linear-48B-A3B-Instruct 49
LFM2-8B-A1B 8.3
Ling-1T 1000
Ling-lite 16.8
Llama-3.1-8B 8.0
Llama-3.1-70B 70.6
Llama-3.1-405B 405
Llama-4-Scout-17B-16E 109
Llama-4-Maverick-17B-128E 400
MiMo-V2-Flash 309
MiniMax-M1-80k 456
MiniMax-M2.5 230
Mixtral-8x22B 141
Nemotron-3-Nano-30B-BF16 31.6
Nemotron-3-Super-120B-FP8 120
Nemotron-3-Ultra-550B-BF16 550
Phi-3.5-MoE-instruct 41.9
Jamba-1.5-Large 398
Qwen3-8B 8.2
Qwen3-32B 32.8
Qwen3-Coder-480B-A35B-Instruct 480
Qwen3-Next-80B-A3B-Instruct 80
Qwen3.5-27B 27
Qwen3.5-397B-A17B 397
Step-3.5-Flash 196
Step3 316
"""


def kept(name: str) -> Kept:
    found = find_kept(name)
    assert found is not None, name
    return found


@pytest.mark.slow
@pytest.mark.parametrize("row", KEPT, ids=lambda row: row.name)
def test_the_counts_that_lists_show_are_what_the_reader_makes_of_the_configuration(
    row: Kept,
) -> None:
    try:
        file = row.file()
        found = model_from_config(file.config, name=row.name, beside=file.beside)
    except NotCounted:
        assert row.counts == Counts(counted="no", max_context=row.counts.max_context)
        return
    assert row.counts == counts_of(found), "run scripts/count_models.py"


@pytest.mark.parametrize("line", PUBLISHED.splitlines())
def test_totals_are_the_published_ones(line: str) -> None:
    name, billions = line.split()
    assert kept(name).counts.total_params == pytest.approx(float(billions) * 1e9, rel=0.015)


@pytest.mark.slow
@pytest.mark.parametrize("row", KEPT, ids=lambda row: row.name)
def test_figures_are_those_counted_without_moeserve(row: Kept) -> None:
    right = RIGHT.get(row.hf_id) or RIGHT.get(row.name) or {}
    counts = row.counts
    pairs = {
        "total_parameters": (counts.total_params, 1e-6),
        "active_parameters": (counts.active_params, 1e-6),
        "weight_bytes": (counts.weight_bytes, 0.03),
    }
    for key, (found, close) in pairs.items():
        if found is not None and right.get(key):
            assert found == pytest.approx(right[key], rel=close), key


def test_no_name_leads_to_two_models_and_every_name_leads_to_its_own() -> None:
    rows = [name for row in MODELS.values() for name in (row.name, row.hf_id) if name]
    names = [*rows, *ALIASES, *(name for row in KEPT for name in row.names)]
    lower = [name.lower() for name in names]
    assert sorted(lower) == sorted(set(lower))
    assert all(find_kept(name.upper()) is row for row in KEPT for name in row.names)


def test_every_configuration_has_a_source_that_names_its_checkpoint() -> None:
    assert all(row.hf_id in row.source for row in KEPT)


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("deepseek-r1", "DeepSeek-R1"),
        ("DeepSeek-AI/deepseek-r1", "DeepSeek-R1"),
        ("kimi-k2", "Kimi-K2-Instruct"),
        (" llama-3.1-8b ", "Llama-3.1-8B"),
        ("meta-llama/Llama-3.1-8B", "Llama-3.1-8B"),
        ("qwen3-30b", "Qwen3-30B-A3B"),
        ("gpt-oss-120b", "gpt-oss-120b"),
        ("deepseek-v3", "DeepSeek-V3"),
        ("qwen3-next", "Qwen3-Next-80B-A3B-Instruct"),
        ("llama-4-maverick", "Llama-4-Maverick-17B-128E"),
    ],
)
def test_what_people_type_is_found(typed: str, name: str) -> None:
    assert load_model(typed).name == name


def test_a_checkpoint_keeps_its_name_its_id_and_its_bytes() -> None:
    r1, plain, half = map(load_model, ("deepseek-ai/DeepSeek-R1", "glm-5", "glm-5-fp8"))
    assert (r1.name, r1.hf_id) == ("DeepSeek-R1", "deepseek-ai/DeepSeek-R1")
    assert plain.total_params == half.total_params
    assert half.held.total == pytest.approx(plain.held.total / 2, rel=0.01)
    assert "zai-org/GLM-5-FP8" in half.source


@pytest.mark.parametrize("name", ["deepseek-v4-flash", "moonshotai/Kimi-K3", "MiniMax-M3"])
def test_what_the_reader_does_not_count_is_known_by_name_and_not_guessed(name: str) -> None:
    found = read_model(name)
    assert found.counted == "no"
    assert found.hf_id == kept(name).hf_id
    assert found.unread
    with pytest.raises(NotCounted, match=found.unread[0]):
        load_model(name)


def test_a_directory_of_the_same_name_is_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads(bytes(kept("Qwen3-8B").config))
    (tmp_path / "Qwen3-8B").mkdir()
    path = tmp_path / "Qwen3-8B" / "config.json"
    path.write_text(json.dumps({**config, "num_hidden_layers": 2, "max_window_layers": 2}))
    monkeypatch.chdir(tmp_path)
    assert load_model("Qwen3-8B").layers == 2
    assert load_model("Qwen/Qwen3-8B").layers == 36


def test_a_slip_in_a_name_or_an_alias_is_answered_with_the_close_one() -> None:
    with pytest.raises(UnknownName, match=r"Did you mean .*DeepSeek-R1"):
        load_model("deepseek-r")
    with pytest.raises(UnknownName, match=r"Did you mean .*kimi-k2"):
        load_model("kimi-k22")


def test_the_list_has_every_model_once_in_80_columns() -> None:
    rows = list(catalog_rows())
    assert [row["model"] for row in rows] == [*MODELS, *(each.name for each in KEPT)]
    assert all(row["source"] for row in rows)
    shown = [listed(row) for row in rows]
    widths = [max(len(key), *(len(str(row[key] or "")) for row in shown)) for key in shown[0]]
    assert sum(width + 3 for width in widths) + 1 <= 80
    unknown = {row["model"] for row in shown if row["total B"] == "not counted"}
    assert unknown == {row.name for row in KEPT if row.counts.counted == "no"}


def test_names_of_the_table_are_found_without_reading_what_is_kept() -> None:
    code = (
        "from catalog.from_hf import load_model; from catalog.kept import kept_models;"
        "load_model('mixtral'); print(kept_models.cache_info().misses)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
