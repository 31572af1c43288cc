"""What vLLM takes unless told otherwise, by GPU, layout and version."""

import re
from pathlib import Path

import msgspec
import pytest

from catalog.errors import BadValue
from catalog.hardware_table import GPUS, gpu
from catalog.model_table import model
from perfmodel.constants import DEFAULT
from perfmodel.engine_defaults import engine_defaults, known_version, rules, schedules_ahead
from perfmodel.published import published_points, settings_of
from perfmodel.serving import ServerSettings, server
from strategies import parse_layout

PAGE = Path(__file__).parents[2] / "docs" / "perfmodel.md"


def limits(name: str, version: str | None = None, layout: str = "tp") -> tuple[int, int]:
    found = engine_defaults(gpu(name), parse_layout(layout), version)
    return found.max_num_batched_tokens, found.max_num_seqs


# Read from vLLM 0.10.2 to 0.32 (vllm/engine/arg_utils.py), by hand.
@pytest.mark.parametrize(("name", "version", "expected"), [
    ("H100", None, (8192, 1024)), ("H200", None, (8192, 1024)), ("H100", "0.11.0", (8192, 1024)),
    ("A100-80GB", None, (2048, 256)), ("A100-80GB", "0.18.0", (2048, 256)),
    ("L40S", None, (2048, 256)), ("RTX-PRO-6000-SE", None, (8192, 1024)),
    ("B200", None, (16384, 1024)), ("B200", "0.27.1", (8192, 1024)),
    ("B200", "0.28.0", (16384, 1024)), ("GB300", "0.32.0+cu130", (16384, 1024)),
    ("MI300X", None, (16384, 1024)), ("MI300X", "0.17.0", (8192, 1024)),
    ("TPU-v6e", None, (1024, 256)), ("TPU-v5e", None, (512, 256)),
])  # fmt: skip
def test_limits_follow_from_gpu_and_version_as_vllm_s_do(
    name: str, version: str | None, expected: tuple[int, int]
) -> None:
    assert limits(name, version) == expected


def test_a_cpu_s_limits_grow_with_its_workers() -> None:
    assert limits("CPU", layout="single") == (2048, 128)
    assert limits("CPU", layout="tp4") == (8192, 512)
    assert limits("CPU", layout="dp4+ep") == (2048, 128)


@pytest.mark.parametrize(("gib", "tokens"), [
    (160.0, 16384), (159.9, 8192), (70.0, 8192), (69.9, 2048),
])  # fmt: skip
def test_memory_decides_from_its_very_limit_on(gib: float, tokens: int) -> None:
    held = msgspec.structs.replace(gpu("H100"), memory_bytes=gib * 2**30)
    assert engine_defaults(held).max_num_batched_tokens == tokens


@pytest.mark.parametrize(("name", "layout", "version", "asked", "ahead"), [
    ("H100", "tp4", None, None, True), ("H100", "tp4", "0.14.0", None, True),
    ("H100", "tp4", "0.13.0", None, False), ("H100", "tp4", "0.13.0", True, True),
    ("B200", "dp8+ep", None, None, True), ("B200", "dp8+ep", None, False, False),
    ("H100", "pp2+tp2", None, None, False), ("CPU", "single", None, None, False),
    ("MI300X", "tp4", None, None, False), ("TPU-v6e", "tp4", None, None, False),
])  # fmt: skip
def test_the_host_schedules_ahead_since_0_14_but_for_pipelines_and_hosts_that_wait(
    name: str, layout: str, version: str | None, asked: bool | None, ahead: bool
) -> None:
    assert schedules_ahead(gpu(name), parse_layout(layout), version, asked=asked) == ahead


def test_fixed_exchange_buffers_bound_a_rank_s_tokens_since_they_do() -> None:
    direct = "dp16+ep[all2all=deepep_low_latency]"
    assert limits("H200", layout=direct)[0] == 256
    assert limits("H200", "0.19.0", direct)[0] == limits("H200", layout="dp16+ep")[0] == 8192
    built = server(model("DeepSeek-V3"), parse_layout(direct), gpu("H200"), longest=2048)
    assert (built.limits.max_num_batched_tokens, built.limits.max_num_seqs) == (256, 256)


@pytest.mark.parametrize(("name", "version", "sequences", "tokens"), [
    ("H100", None, 1024, 512), ("H100", None, 16, 32), ("B200", None, 1024, 1024),
    ("B200", "0.18.0", 1024, 512), ("MI300X", None, 1024, 512), ("CPU", None, 128, 0),
])  # fmt: skip
def test_graphs_hold_twice_the_sequences_up_to_the_gpu_s_most(
    name: str, version: str | None, sequences: int, tokens: int
) -> None:
    found = engine_defaults(gpu(name), version=version)
    assert found.graphs(sequences, found.max_num_batched_tokens) == tokens


def test_every_rule_has_the_address_it_was_read_from_and_every_gpu_has_a_rule() -> None:
    assert all(rule.source.startswith("https://") for rule in rules())
    for version in {rule.since for rule in rules()}:
        assert all(engine_defaults(each, version=version).source for each in GPUS.values())
        assert all(f"/v{version}/" in rule.source for rule in rules() if rule.since == version)


def test_a_version_that_is_none_or_older_is_refused_and_a_record_s_is_overlooked() -> None:
    for text in ("0.9.2", "newest", ""):
        assert known_version(text) is None
    with pytest.raises(BadValue, match=r"0\.10\.2 on"):
        engine_defaults(gpu("H100"), version="0.9.2")
    asked = ServerSettings(engine_version="soon")
    with pytest.raises(BadValue, match="engine version"):
        server(model("OLMoE-1B-7B"), parse_layout("tp"), gpu("H100"), longest=99, setup=asked)


def test_published_points_have_the_defaults_of_their_own_version() -> None:
    versions = {
        settings_of(point, DEFAULT).engine_version: point.engine_version
        for point in published_points()
    }
    assert all(asked in (None, told) for asked, told in versions.items())
    assert "0.17.0" in versions


def test_the_page_shows_the_table() -> None:
    shown = re.findall(r"^\| .*vLLM [\d.]+ .*\|$", PAGE.read_text(), re.MULTILINE)
    for rule in rules():
        numbers = [f"{rule.max_num_batched_tokens}", f"{rule.max_num_seqs}", f"{rule.graph_tokens}"]
        version = f"vLLM {rule.since.removesuffix('.0')} "
        rows = [[cell.strip() for cell in row.split("|")] for row in shown if version in row]
        device = rule.device or (f"{rule.least_gib:g} GiB" if rule.least_gib else "others")
        assert any(row[2].startswith(device) and row[3:6] == numbers for row in rows), rule
