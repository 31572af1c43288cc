"""Tables are found where they are installed or lie, and price what their GPU was measured at."""

from importlib.resources import files
from pathlib import Path

import msgspec
import pytest

from catalog.errors import BadFile, MissingExtra
from catalog.hardware_table import gpu
from catalog.model_table import model
from moeserve.cli import main
from perfmodel.constants import DEFAULT, ROOFLINE, VLLM_2026_KERNELS
from perfmodel.kernel_tables.source import INSTALLED, PACKAGE, installed_gpus, kernel_tables
from perfmodel.known_error import KNOWN_ERRORS, error_bounds, pricing_of
from perfmodel.serving import ServerSettings, server
from strategies import parse_layout
from tests.perfmodel.kernel_tables import tables

SPEC = model("Qwen3-30B-A3B")


def install(site: Path, version: str = "0.12.0") -> Path:
    """The package as an installer leaves it, with no tables yet; return where they go."""
    info = site / f"{PACKAGE.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {PACKAGE}\nVersion: {version}\n")
    return site / "aiconfigurator_core" / "systems"


def test_installed_tables_are_found_by_their_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systems = install(tmp_path)
    tables.write_all(systems, SPEC, 4)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = kernel_tables(INSTALLED)
    assert (found.kind, found.name) == ("aiconfigurator", f"{PACKAGE} 0.12.0")
    assert Path(found.folder) == systems
    assert kernel_tables(str(systems.parent)).folder == kernel_tables(str(systems)).folder


def test_installed_tables_offer_themselves_for_the_gpus_that_they_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    systems = install(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    asked = ("H100", "B200", "My-GPU#12ab34cd")
    assert installed_gpus(asked) == ()
    tables.write_all(systems, SPEC, 4)
    assert installed_gpus(asked) == ("H100",)
    line = f"estimate -m {SPEC.name} -s tp4 -w 64:8:4 -c 4 --hardware H100"
    for flags, said in (("", True), (f" --kernel-tables {INSTALLED}", False)):
        with pytest.raises(SystemExit) as ended:
            main(f"{line}{flags}".split())
        assert ended.value.code == 0
        assert ("of H100 are installed and not used" in capsys.readouterr().err) == said
    monkeypatch.setattr("perfmodel.kernel_tables.source.PACKAGE", "no-such-package")
    assert installed_gpus(asked) == ()


def test_a_package_without_tables_and_no_package_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BadFile, match="no tables of kernels"):
        kernel_tables(INSTALLED)
    monkeypatch.setattr("perfmodel.kernel_tables.source.PACKAGE", "no-such-package")
    with pytest.raises(MissingExtra, match=r"moeserve\[kernels\]"):
        kernel_tables(INSTALLED)


def test_a_file_an_empty_folder_and_nothing_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "moe_perf.parquet").touch()
    monkeypatch.chdir(tmp_path)
    for text, said in (("moe_perf.parquet", "not a folder"), ("x", "no such"), ("", "no tables")):
        with pytest.raises(BadFile, match=said):
            kernel_tables(text)


@pytest.mark.parametrize(
    ("hardware", "layout", "priced_by"),
    [
        ("H100", "tp4", "vllm-2026-kernels and measured kernels"),
        ("H100", "tp2", "vllm-2026 and measured kernels"),  # no experts, but products
        ("H200", "tp4", "vllm-2026"),
        ("MI300X", "tp4", "vllm-2026"),
    ],
)
def test_constants_fitted_beside_kernels_go_with_measured_experts_alone(
    tmp_path: Path, hardware: str, layout: str, priced_by: str
) -> None:
    tables.write_all(tmp_path, SPEC, 4)
    settings = ServerSettings(kernel_tables=kernel_tables(str(tmp_path)))
    built = server(SPEC, parse_layout(layout), gpu(hardware), longest=500, setup=settings)
    assert built.step_model.pricing == priced_by
    assert pricing_of(f"{priced_by}: x" if "kernels" in priced_by else priced_by) == priced_by
    asked = msgspec.structs.replace(settings, constants=ROOFLINE)
    built = server(SPEC, parse_layout(layout), gpu(hardware), longest=500, setup=asked)
    assert built.step_model.constants is ROOFLINE


def test_estimates_beside_kernels_have_bounds_wider_where_none_were_compared() -> None:
    name = "vllm-2026-kernels and measured kernels"
    figures: dict[str, float | None] = {"output_throughput": 100.0}
    near, far = (
        error_bounds(name, parse_layout("tp4"), gpu(each), figures) for each in ("H200", "B200")
    )
    assert near["high_output_throughput"] == pytest.approx(175)
    assert far["high_output_throughput"] == pytest.approx(100 * 1.75**1.5)


@pytest.mark.parametrize(
    "other", ["0.24.0", "vllm-2026: x", "vllm-2026 and measured kernels", "mine: x", ""]
)
def test_what_is_no_pricing_of_ours_is_none(other: str) -> None:
    assert pricing_of(other) is None


def test_the_shipped_set_is_the_fit_to_all_points_that_the_tables_hold() -> None:
    text = files("perfmodel").joinpath("data", "left_out_fits_kernels.json").read_text()
    fits = msgspec.json.decode(text, type=dict[str, dict[str, dict[str, float]]])
    for name, value in fits["all"][""].items():
        assert getattr(VLLM_2026_KERNELS, name) == pytest.approx(value, rel=0.005)
    same = set(msgspec.structs.asdict(DEFAULT)) - {*fits["all"][""], "name", "source"}
    assert all(getattr(DEFAULT, name) == getattr(VLLM_2026_KERNELS, name) for name in same)
    assert KNOWN_ERRORS["vllm-2026-kernels and measured kernels"].gpus == set(fits["gpu"])
