"""What is concluded from rows, checked on rows whose truth is known."""

import csv
import io
import itertools
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from catalog.errors import BadValue
from catalog.units import GB, GIB
from microbench.bound import Ceilings, expected
from microbench.constants import constants
from microbench.device import DeviceInfo
from microbench.findings import (
    ACTIVE,
    BATCHING,
    GROUPING,
    PLATEAU,
    WIDTH,
    Finding,
    findings,
)
from microbench.fits import fits
from microbench.messages import PointTimings, SweepJob
from microbench.point import Point
from microbench.routing import RoutingPattern
from microbench.rows import PointRow, beside_samples, rows
from microbench.save import check_target, rows_csv
from microbench.session import Gathered
from perfmodel.constants import Constants

CEILINGS = Ceilings(copy_bytes_per_s=80 * GB, read_bytes_per_s=100 * GB, flops_per_s=10_000 * GB)
Time = Callable[[Point], float]


def row(point: Point, seconds: float) -> PointRow:
    moved = point.weight_bytes(point.active_experts)
    cost = CEILINGS.roofline(moved, point.flops)
    return PointRow(
        backend="test", kernel="none", device="cpu", **msgspec.structs.asdict(point),
        touched_experts=point.active_experts, median_ms=seconds * 1e3, weight_bytes=moved,
        flops=point.flops, ceiling_gb_per_s=100.0, ceiling_gflop_per_s=10_000.0,
        bandwidth_share=float(cost.memory_s) / seconds, roofline_ms=float(cost.seconds) * 1e3,
        roofline_bound=expected(cost), processes=1, threads=1, routing="uniform", verdict="ok",
    )  # fmt: skip


def sweep(time: Time) -> list[PointRow]:
    made = [
        Point(
            batch=batch, hidden=1024, intermediate=width, experts=16, active_experts=active,
            top_k=2, dtype="float32",
        )
        for batch, width, active in itertools.product((8, 32), (256, 512, 1024), (4, 8, 16))
    ]  # fmt: skip
    return [row(point, time(point)) for point in made]


def streaming(point: Point) -> float:
    """20 µs, and the weights at 95 % of the ceiling."""
    return 20e-6 + point.weight_bytes(point.active_experts) / (95 * GB)


def verdicts(rows: list[PointRow]) -> dict[str, Finding]:
    return {found.finding: found for found in findings(rows)}


def test_a_device_that_streams_its_weights_shows_the_first_and_the_third_finding() -> None:
    found = verdicts(sweep(streaming))
    assert found[WIDTH].verdict == found[ACTIVE].verdict == "confirmed"
    assert (found[WIDTH].holds, found[WIDTH].slices) == (6, 6)


def test_batching_is_free_where_only_bytes_count_so_width_changes_nothing() -> None:
    assert verdicts(sweep(streaming))[BATCHING].verdict == "contradicted"


def test_wide_experts_that_saturate_gain_less_from_batching() -> None:
    def saturating(point: Point) -> float:
        return streaming(point) + point.batch * (point.intermediate / 1024) ** 2 * 1e-4

    found = verdicts(sweep(saturating))[BATCHING]
    assert found.verdict == "confirmed"


def test_growth_that_is_not_the_weights_contradicts_the_third_finding() -> None:
    found = verdicts(sweep(lambda point: 1e-2 * point.active_experts))[ACTIVE]
    assert found.verdict == "contradicted"


def test_a_constant_latency_is_no_linear_growth() -> None:
    assert verdicts(sweep(lambda _: 1e-3))[WIDTH].verdict == "contradicted"


def test_overheads_that_hide_the_bytes_are_a_plateau_and_bytes_alone_are_none() -> None:
    found = verdicts(sweep(lambda point: 1e-3 + point.intermediate * 1e-8))[PLATEAU]
    assert (found.verdict, found.holds, found.slices) == ("confirmed", 3, 3)
    assert "2.00 (2.00 to 2.00) times the width" in found.numbers
    assert verdicts(sweep(streaming))[PLATEAU].verdict == "contradicted"


def test_grouping_pays_where_bytes_count_and_never_beats_the_whole_batch() -> None:
    """Batch 32 over 16 experts: four steps of 8 tokens and 4 experts each, or of all 16."""
    found = verdicts(sweep(lambda point: point.weight_bytes(point.active_experts) / 1e11))[GROUPING]
    assert (found.verdict, found.slices) == ("confirmed", 3)
    assert found.numbers.startswith("a step cut at random takes 4.00 (4.00 to 4.00)")
    assert "take 1.00 (1.00 to 1.00) times the whole" in found.numbers
    overheads = verdicts(sweep(lambda _: 1e-3))[GROUPING]
    assert (overheads.verdict, overheads.holds) == ("contradicted", 0)
    assert "take 4.00" in overheads.numbers


def test_findings_without_the_sizes_they_need_are_not_tested() -> None:
    one = sweep(streaming)[:1]
    assert {found.verdict for found in findings(one)} == {"not tested"}


def test_the_fit_finds_the_bandwidth_that_the_rows_were_made_with() -> None:
    (line,) = fits(sweep(streaming))
    assert line.gb_per_s == pytest.approx(95)
    assert line.share_of_ceiling == pytest.approx(0.95)
    assert line.t0_ms == pytest.approx(0.02)


def test_rows_without_times_are_left_out_of_everything() -> None:
    failed = [msgspec.structs.replace(each, median_ms=None) for each in sweep(streaming)]
    assert fits(failed) == []
    assert {found.verdict for found in findings(failed)} == {"not tested"}


def test_weights_that_stay_in_a_cache_say_nothing_of_the_memory() -> None:
    cached = [msgspec.structs.replace(each, cached=True) for each in sweep(streaming)]
    assert fits(cached) == []
    found = verdicts(cached)
    assert (found[ACTIVE].verdict, found[WIDTH].verdict) == ("not tested", "confirmed")


def test_a_row_knows_by_its_bytes_and_the_last_level_cache_that_it_is_cached() -> None:
    points = tuple(
        Point(
            batch=2, hidden=hidden, intermediate=hidden, experts=2, active_experts=2, top_k=2,
            dtype="float32",
        )
        for hidden in (8, 1024)
    )  # fmt: skip
    on = device("cpu", 8 * GIB, "cpu")
    job = SweepJob(
        device=on, points=points, together=(), backends=("loop",), routing=RoutingPattern(),
        rounds=1, samples=2, warm_ups=0,
    )  # fmt: skip
    times = {
        (point, "loop"): [
            PointTimings(point=point, backend="loop", kernel="", seconds=(1e-3, 2e-3))
        ]
        for point in (0, 1)
    }
    small, large = rows(job, Gathered(times, {"float32": [CEILINGS]}))
    assert (small.cached, small.bound, small.bandwidth_share) == (True, "cache", None)
    assert not large.cached
    assert large.bandwidth_share == pytest.approx(25.2e6 / 1.5e-3 / 100e9, rel=0.01)


def test_the_ceiling_of_a_row_is_the_memory_s_pace_beside_its_samples() -> None:
    told = PointTimings(point=0, backend="loop", kernel="", bytes_per_s=(40e9, 50e9, 70e9))
    assert beside_samples(CEILINGS, [told]).bytes_per_s == 50e9
    copies_faster = Ceilings(copy_bytes_per_s=120e9, read_bytes_per_s=100e9, flops_per_s=1e12)
    assert beside_samples(copies_faster, [told]).bytes_per_s == pytest.approx(60e9)
    silent = PointTimings(point=0, backend="loop", kernel="")
    assert beside_samples(CEILINGS, [silent]) is CEILINGS


def device(name: str, memory_bytes: float, kind: str = "cuda:0") -> DeviceInfo:
    return DeviceInfo(
        device=kind, name=name, memory_bytes=int(memory_bytes), free_bytes=int(memory_bytes),
        cache_bytes=40 * 2**20, threads=1,
    )  # fmt: skip


def test_a_known_gpu_s_efficiencies_are_shares_of_its_datasheet(tmp_path: Path) -> None:
    from moeserve.cli.calibrations import constants_of

    a100 = device("NVIDIA A100-SXM4-80GB", 79.15 * GIB)
    found = constants(a100, fits(sweep(streaming)), {"float32": CEILINGS})
    assert isinstance(found, Constants)
    assert found.memory_efficiency == pytest.approx(95 * GB / 2039e9, rel=0.01)
    assert found.compute_efficiency == pytest.approx(10e12 / 19.5e12, rel=0.01)
    file = tmp_path / "constants.json"
    file.write_bytes(msgspec.json.encode(found))
    read = constants_of(str(file))
    assert read.name.startswith(f"{found.name}#"), "another file's is another set"
    assert msgspec.structs.replace(read, name=found.name) == found


@pytest.mark.parametrize(("name", "kind"), [("NVIDIA Unheard-Of", "cuda:0"), ("A100", "cpu")])
def test_a_device_without_a_datasheet_has_no_constants(name: str, kind: str) -> None:
    unknown = device(name, 79.15 * GIB, kind)
    assert constants(unknown, fits(sweep(streaming)), {"float32": CEILINGS}) is None


def test_csv_has_every_column_and_nothing_for_what_was_not_measured() -> None:
    (only,) = csv.DictReader(io.StringIO(rows_csv(sweep(streaming)[:1]).decode()))
    assert set(only) == set(PointRow.__struct_fields__)
    assert only["p99_ms"] == ""


def test_a_place_that_cannot_be_written_or_holds_results_is_refused(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(BadValue, match="another directory"):
        check_target(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadValue, match="can be written"):
        check_target(tmp_path / "file")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(BadValue, match="a file ending in"):
        check_target(tmp_path / "folder.csv")
    check_target(tmp_path / "new" / "deep")
    assert (tmp_path / "new" / "deep").is_dir()


@pytest.mark.filterwarnings("error")
def test_the_three_figures_are_drawn_from_any_sweep() -> None:
    pytest.importorskip("matplotlib", reason="moeserve[analysis] brings it")
    from microbench.figures import FIGURES

    for draw in FIGURES.values():
        figure = draw(sweep(streaming))
        labels = figure.axes[0].get_legend_handles_labels()[1]
        assert labels
        assert "measured" in figure.get_suptitle()
        assert draw(sweep(streaming)[:1]).axes
