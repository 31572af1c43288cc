"""A user's own `microbench experts` prices the experts of the GPU it ran on."""

import json
from pathlib import Path

import pytest

from catalog.errors import BadFile
from catalog.hardware_table import gpu
from catalog.model_table import model
from perfmodel.experts import touched
from perfmodel.kernel_tables.source import kernel_tables
from perfmodel.known_error import error_bounds, pricing_of
from perfmodel.serving import ServerSettings, server
from perfmodel.step import StepModel
from strategies import parse_layout

SPEC = model("OLMoE-1B-7B")
H100 = gpu("H100")
BATCHES = (8, 32, 128)


def write(
    folder: Path, *, device: str = "NVIDIA H100 80GB HBM3", ranks: int = 1, **other: object
) -> Path:
    """A result whose times are 1 µs a touched expert and 2 a token."""
    experts = SPEC.experts
    assert experts is not None
    rows = [
        {
            "backend": "vllm", "kernel": "fused_experts", "device": device, "dtype": "bfloat16",
            "batch": batch, "hidden": SPEC.hidden, "intermediate": experts.width // ranks,
            "experts": experts.count, "active_experts": hit, "touched_experts": hit,
            "top_k": experts.top_k, "median_ms": (hit + 2 * batch) / 1e3, "routing": "uniform",
        } | other
        for batch in BATCHES for hit in (8, 64)
    ]  # fmt: skip
    kind = "cuda:0" if "NVIDIA" in device else "cpu"
    job = {"device": {"name": device, "memory_bytes": int(H100.memory_bytes), "device": kind}}
    folder.mkdir(exist_ok=True)
    (folder / "result.json").write_text(json.dumps({"job": job, "rows": rows, "fits": []}))
    return folder


def layer_s(folder: Path, tokens: float, layout: str = "single", hardware: str = "H100") -> float:
    step = StepModel(SPEC, parse_layout(layout), gpu(hardware))
    step.use(kernel_tables(str(folder)))
    assert step.kernels is not None
    return float(step.kernels.experts_time(tokens).seconds) / SPEC.layers


def test_a_batch_takes_what_it_took_at_the_experts_that_so_many_tokens_touch(
    tmp_path: Path,
) -> None:
    folder = write(tmp_path / "mine")
    for batch in BATCHES:
        hit = float(touched(64, 8, batch))
        # Straight on logarithms between 8 and 64 touched, so between the two times.
        assert (8 + 2 * batch) / 1e6 < layer_s(folder, batch) <= (hit + 2 * batch) * 1.2 / 1e6
    assert layer_s(folder, 8) < layer_s(folder, 20) < layer_s(folder, 32)


def test_slices_of_tensor_parallelism_are_served_by_experts_as_thin(tmp_path: Path) -> None:
    whole, halves = write(tmp_path / "whole"), write(tmp_path / "halves", ranks=2)
    assert layer_s(halves, 32, "tp2") == layer_s(whole, 32) > 0
    for folder, layout in ((whole, "tp2"), (halves, "single"), (halves, "tp2+ep")):
        assert not layer_s(folder, 32, layout) > 0


@pytest.mark.parametrize(
    "other",
    [
        {"backend": "loop"}, {"routing": "zipf 1.2"}, {"dtype": "float16"}, {"top_k": 4},
        {"median_ms": None}, {"cached": True},
    ],
)  # fmt: skip
def test_other_kernels_types_and_routings_serve_nothing(tmp_path: Path, other: dict) -> None:
    assert not layer_s(write(tmp_path / "mine", **other), 32) > 0


def test_another_device_serves_nothing_and_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", device="NVIDIA A100-SXM4-80GB")
    assert not layer_s(folder, 32) > 0
    step = StepModel(SPEC, parse_layout("single"), H100)
    step.use(kernel_tables(str(folder)))
    assert step.kernels is not None
    assert step.kernels.name.startswith("no table of H100: measured on NVIDIA A100")
    assert step.pricing == "vllm-2026"


def test_a_cpu_s_table_is_of_the_cpu_alone(tmp_path: Path) -> None:
    cpu, h100 = write(tmp_path / "cpu", device="Xeon"), write(tmp_path / "h100")
    assert layer_s(cpu, 32, hardware="CPU") > 0
    assert not layer_s(cpu, 32) > 0
    assert not layer_s(h100, 32, hardware="CPU") > 0


def test_constants_fitted_beside_other_kernels_do_not_go_with_one_s_own(tmp_path: Path) -> None:
    settings = ServerSettings(kernel_tables=kernel_tables(str(write(tmp_path / "mine"))))
    built = server(SPEC, parse_layout("single"), H100, longest=200, setup=settings)
    assert built.step_model.pricing == "vllm-2026 and own kernels"
    figures: dict[str, float | None] = {"output_throughput": 100.0}
    bounds = error_bounds(built.step_model.pricing, parse_layout("single"), H100, figures)
    assert bounds["high_output_throughput"] == pytest.approx(100 * 1.6**1.5)
    assert pricing_of("vllm-2026 and own kernels: mine") == "vllm-2026 and own kernels"


def test_beyond_the_batches_measured_the_formula_counts(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine")
    assert not layer_s(folder, 4) > 0
    assert not layer_s(folder, 129) > 0


@pytest.mark.parametrize("text", ["", "{}", '{"job": 1, "rows": []}', "[1]"])
def test_another_file_of_that_name_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(BadFile, match="not a result of"):
        layer_s(tmp_path, 32)
