"""A step takes from a table what the table measured, and from the formulas all else."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from catalog.hardware_table import gpu
from catalog.model_table import model
from perfmodel.breakdown import step_cost
from perfmodel.closed_loop import ClosedLoop
from perfmodel.constants import ROOFLINE, VLLM_2026, Constants
from perfmodel.experts import RoutingSkew
from perfmodel.features import MeasuredRun, features
from perfmodel.kernel_tables.experts import LAUNCHES
from perfmodel.kernel_tables.latent import latent_table
from perfmodel.kernel_tables.source import kernel_tables
from perfmodel.load import StepLoad, decode_load, prefill_load
from perfmodel.serving import ServerSettings, server
from perfmodel.simulate import simulate
from perfmodel.step import StepModel
from strategies import parse_layout
from tests.perfmodel.kernel_tables import tables

SPEC = model("Qwen3-30B-A3B")
LAYERS = SPEC.layers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tables")
    tables.write_all(root, SPEC, 4)
    return root


def step(
    folder: Path, layout: str = "tp4", *, hardware: str = "H100", constants: Constants = VLLM_2026,
    routing: RoutingSkew | None = None, kv_dtype: str | None = None,
) -> StepModel:  # fmt: skip
    found = StepModel(
        SPEC, parse_layout(layout), gpu(hardware), constants=constants, kv_dtype=kv_dtype,
        routing=routing or RoutingSkew(),
    )  # fmt: skip
    found.use(kernel_tables(str(folder)))
    return found


def parts(model: StepModel, load: StepLoad) -> dict[str, tuple[float, str]]:
    cost = step_cost(model, [load])
    assert sum(part.seconds for part in cost.parts) == pytest.approx(cost.seconds)
    return {part.name: (part.seconds, part.priced_by) for part in cost.parts}


def test_every_part_of_a_decode_step_is_the_table_s_less_the_launches_counted_beside(
    folder: Path,
) -> None:
    found = parts(step(folder), decode_load(64, 1000))
    launch_ms = VLLM_2026.kernel_s * 1e3
    expected_ms = {
        "experts": LAYERS * (tables.EXPERTS_MS * 8 - LAUNCHES * launch_ms),
        "attention": LAYERS * (tables.SCORES_MS - launch_ms),
        "projections": 2 * LAYERS * (tables.PRODUCT_MS - launch_ms),
        "dense": LAYERS * (tables.PRODUCT_MS - launch_ms),
        "head": tables.PRODUCT_MS,
        "all-reduce": 2 * LAYERS * tables.REDUCE_MS,
    }
    for name, milliseconds in expected_ms.items():
        assert found[name] == (pytest.approx(milliseconds / 1e3), "table"), name
    assert {by for name, (_, by) in found.items() if name not in expected_ms} == {"formula"}


def test_whole_experts_and_slices_are_told_apart_as_the_table_has_them(folder: Path) -> None:
    both = [
        parts(step(folder, each), decode_load(64, 1000))["experts"][0] for each in ("tp4", "tp4+ep")
    ]
    launched_s = LAYERS * LAUNCHES * VLLM_2026.kernel_s
    assert (both[1] + launched_s) / (both[0] + launched_s) == pytest.approx(1.5)


def test_where_a_host_launches_ahead_no_launch_is_taken_off(folder: Path) -> None:
    phases = step(folder, constants=ROOFLINE).phases
    attention = phases.attention(decode_load(64, 1000), np.zeros(1))
    assert attention.seconds == pytest.approx(LAYERS * tables.SCORES_MS / 1e3)


def test_a_calibration_without_skew_takes_no_skewed_experts(folder: Path) -> None:
    cost = step(folder, constants=ROOFLINE).phases.experts(64)
    assert cost is not None
    assert np.isnan(cost.kernel_s)


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ({"layout": "tp2"}, {"experts", "attention", "all-reduce"}),
        ({"hardware": "H200"}, {"experts", "attention", "projections", "all-reduce"}),
        ({"routing": RoutingSkew(zipf=1.0)}, {"experts"}),
        ({"kv_dtype": "fp8"}, {"attention"}),
    ],
)
def test_what_the_table_lacks_is_priced_as_without_it(
    folder: Path, change: dict, left: set[str]
) -> None:
    changed = step(folder, **change)
    plain = StepModel(
        SPEC, changed.layout, changed.gpu, constants=VLLM_2026,
        routing=change.get("routing") or RoutingSkew(), kv_dtype=change.get("kv_dtype"),
    )  # fmt: skip
    found, formulas = (parts(each, decode_load(64, 1000)) for each in (changed, plain))
    for name in left:
        assert found[name] == formulas[name]
    assert str(changed.kernels and changed.kernels.tally).count("formula") >= len(left)


def test_beyond_the_table_a_formula_prices_the_load_and_the_tally_tells(folder: Path) -> None:
    found = step(folder)
    for tokens in (64, 40_000):
        cost = found.phases.experts(tokens)
        assert cost is not None
        assert np.isfinite(cost.kernel_s) == (tokens < 16384)
    assert found.kernels is not None
    assert str(found.kernels.tally) == "experts table 50%"


def test_a_run_of_steps_leaves_the_table_where_its_contexts_do(folder: Path) -> None:
    ahead = np.arange(16_000, 16_800, 100.0)
    cost = step(folder).phases.attention(decode_load(8, 0), ahead)
    known = np.isfinite(cost.kernel_s)
    assert known.tolist() == (ahead + 1 <= 16385).tolist()
    plain = StepModel(SPEC, parse_layout("tp4"), gpu("H100"), constants=VLLM_2026)
    formula = plain.phases.attention(decode_load(8, 0), ahead)
    assert np.asarray(cost.seconds)[~known] == pytest.approx(np.asarray(formula.seconds)[~known])


def test_prompts_are_priced_whole_and_later_chunks_are_not(folder: Path) -> None:
    whole, later = prefill_load(3, 500), prefill_load(1, 500, context=500)
    attention = step(folder).phases.attention
    cost = attention(whole, np.zeros(1))
    assert cost.kernel_s == pytest.approx(LAYERS * 3 * tables.PROMPT_MS / 1e3)
    assert np.isnan(attention(later, np.zeros(1)).kernel_s).all()


def test_a_table_without_windows_serves_layers_that_have_none(tmp_path: Path) -> None:
    windowed = model("gpt-oss-20b")
    for spec, served in ((SPEC, True), (windowed, False)):
        root = tmp_path / spec.name
        for prompts, name in ((True, "context"), (False, "generation")):
            rows = tables.attention_rows(spec, 1, prompts=prompts, window=False)
            tables.write(root, "attention", f"{name}_attention_perf.parquet", rows)
        found = StepModel(spec, parse_layout("single"), gpu("H100"))
        found.use(kernel_tables(str(root)))
        assert (found.kernels is not None and found.kernels.attention is not None) == served


def test_latent_attention_is_timed_with_its_projections_and_counted_once(tmp_path: Path) -> None:
    spec, step_ms = model("DeepSeek-V3"), 0.3
    for name, lengths in (("context", "isl"), ("generation", "step")):
        rows = [
            {
                "model": "deepseek-ai/DeepSeek-V3", "mla_dtype": "bfloat16", "num_heads": 16,
                "kv_cache_dtype": "bfloat16", "gemm_type": "fp8_block", "batch_size": batch,
                "isl": 1, "step": 0, lengths: length, "latency": step_ms,
            }
            for batch in (1, 64) for length in (1, 4096)
        ]  # fmt: skip
        tables.write(tmp_path, "mla", f"mla_{name}_module_perf.parquet", rows)
    built = StepModel(spec, parse_layout("tp8"), gpu("H100"))
    built.use(kernel_tables(str(tmp_path)))
    launched_s = spec.layers * 13 * VLLM_2026.kernel_s
    for load in (decode_load(32, 1000), prefill_load(2, 500)):
        found = parts(built, load)
        both_s = found["attention"][0] + found["projections"][0]
        assert both_s == pytest.approx(spec.layers * step_ms / 1e3 - launched_s)
    both = StepLoad(decode_sequences=1, prefill_tokens=10, prefill_sequences=1, kv_tokens=20)
    assert np.isnan(built.phases.attention(both, np.zeros(1)).kernel_s).all()
    for other in ("tp4", "tp16"):  # other heads a rank
        built = StepModel(spec, parse_layout(other), gpu("H100"))
        built.use(kernel_tables(str(tmp_path)))
        assert built.kernels is not None
        assert built.kernels.attention is None
    other_widths = msgspec.structs.replace(spec, hidden=5120)
    assert latent_table(tmp_path, other_widths, parse_layout("tp8"), kv_dtype=None) is None


def test_the_newest_release_counts_and_a_development_version_does_not(tmp_path: Path) -> None:
    for version, factor in (("0.9.1", 5), ("0.24.0", 1), ("0.30.dev1", 9)):
        rows = [{**row, "latency": row["latency"] * factor} for row in tables.reduce_rows(4)]
        tables.write(tmp_path, "comm", "custom_allreduce_perf.parquet", rows, version)
    found = step(tmp_path)
    assert found.kernels is not None
    assert found.kernels.reduce_s(2**20) == pytest.approx(tables.REDUCE_MS / 1e3)
    assert found.kernels.name.startswith("vLLM 0.24.0 on H100")


def test_a_tabulated_run_takes_what_simulating_it_takes(folder: Path) -> None:
    """Constants are fitted to tables of steps: what kernels price is fixed in them."""
    settings = ServerSettings(constants=VLLM_2026, kernel_tables=kernel_tables(str(folder)))
    layout = parse_layout("tp4+ep")
    run = MeasuredRun(
        model=SPEC, layout=layout, gpu=gpu("H100"), input_len=64, output_len=32, num_prompts=24,
        max_concurrency=8, output_throughput=1.0,
    )  # fmt: skip
    table = features([run], settings, VLLM_2026)
    built = server(SPEC, layout, gpu("H100"), longest=96, setup=settings)
    without_delay = VLLM_2026.first_token_s * 3  # a stream's delay holds up each of three waves
    result = simulate(ClosedLoop(24, 8), [(64, 32)] * 24, built.step_model, limits=built.limits)
    simulated_s = float(result.done_s.max())
    assert float(table.duration_s(VLLM_2026, 1)[0]) == pytest.approx(
        simulated_s, abs=without_delay + 0.01 * simulated_s
    )
