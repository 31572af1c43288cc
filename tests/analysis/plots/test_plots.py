"""Figures: every kind draws, colours keep their strategy, names stay text."""

import xml.etree.ElementTree as ET
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from analysis.gpus import gpus_of
from analysis.plots import KINDS, PlotSelection, Sheet, draw
from analysis.plots.axis import load_axis, log_y
from analysis.plots.save import encoded
from analysis.plots.timeline import timeline
from analysis.question import ComparisonSpec
from analysis.series import against_load, curves, per_user, residuals, scaling
from analysis.style import label_of, style_of
from analysis.winners import winners
from catalog.errors import BadFile, BadValue, UnknownName

Study = Callable[..., pd.DataFrame]


def texts(svg: bytes) -> list[str]:
    return [e.text for e in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def both(small: Study) -> pd.DataFrame:
    return pd.concat([small(2), small(1, seed=9, provenance="measured")], ignore_index=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_draws_with_units_and_a_legend(small: Study, kind: str) -> None:
    rows = both(small) if kind == "residuals" else small(2)
    found = " ".join(filter(None, texts(encoded(draw(rows, kind), "svg"))))
    assert "tp" in found
    assert "simulated" in found
    assert any(unit in found for unit in ("tokens/s", "ms", "1 = linear", "Measured / estimated"))


@pytest.mark.slow
def test_the_same_figure_gives_the_same_bytes(small: Study) -> None:
    one, two = (encoded(draw(small(), "bars"), "svg") for _ in range(2))
    assert one == two


@pytest.mark.slow
def test_png_is_drawn_too(small: Study) -> None:
    assert encoded(draw(small(), "bars"), "png").startswith(b"\x89PNG")


def ticks(axis: Axis) -> list[str]:
    """The labels of the ticks in sight."""
    low, high = sorted(axis.get_view_interval())
    found = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True)
    shown = [text.get_text() for at, text in found if low <= at <= high]
    return [text for text in shown if text]


@pytest.mark.slow
@given(st.floats(1e-3, 1e6), st.floats(1.001, 1e5))
def test_a_logarithmic_axis_has_plain_ticks_and_enough_of_them(low: float, span: float) -> None:
    axes = Figure().subplots()
    axes.plot([1, 2], [low, low * span])
    log_y(axes)
    assert axes.yaxis.get_minorticklocs().size == 0
    assert len(ticks(axes.yaxis)) >= 2
    for text in ticks(axes.yaxis):
        assert float(text.replace(",", "")) > 0
        assert "10^" not in text


@pytest.mark.slow
@given(st.lists(st.integers(1, 4096), min_size=1, max_size=12, unique=True))
def test_no_two_loads_are_written_over_each_other(levels: list[int]) -> None:
    axes = Figure().subplots()
    axes.plot(levels, levels)
    load_axis(axes, np.array(levels, dtype=float), "Request rate (requests/s)")
    at = [float(text.replace(",", "")) for text in ticks(axes.xaxis)]
    assert at[0] == min(levels)
    assert set(at) <= set(map(float, levels))
    assert all(b / a >= 1.5 for a, b in pairwise(at))


@pytest.mark.slow
def test_the_legend_names_number_and_kind_of_gpus(small: Study) -> None:
    for kind in ("throughput", "bars", "pareto", "heatmap"):
        found = texts(encoded(draw(small(2), kind), "svg"))
        assert "tp, 2 × A100-80GB" in found
    some = small().assign(gpu_type=lambda f: np.where(f["strategy"] == "tp", None, "H100"))
    assert gpus_of(some) == {"tp": "2 GPUs", "ep": "2 × H100", "tp+ep": "4 × H100"}
    mixed = pd.DataFrame({"strategy": "tp", "num_gpus": [2, 2, 4], "gpu_type": ["A", "B", "A"]})
    assert gpus_of(mixed) == {"tp": "3 kinds of GPUs"}
    assert gpus_of(mixed[:2]) == {"tp": "2 × A or 2 × B"}
    assert gpus_of(mixed.assign(num_gpus=[2, 2, np.nan], gpu_type=["A", "A", None])) == {"tp": ""}


def test_lines_stand_at_what_was_in_flight_where_every_run_says_it(small: Study) -> None:
    rows = small().assign(effective_concurrency=lambda f: 0.8 * f["max_concurrency"])
    table, name = against_load(curves(rows, "output_throughput"), rows)
    assert name == "Requests in flight (mean)"
    assert table["x"].to_numpy() == pytest.approx(0.8 * table["load"].to_numpy())
    first = rows.index[0]
    rows.loc[first, "effective_concurrency"] = np.nan
    table, name = against_load(curves(rows, "output_throughput"), rows)
    assert name.startswith("Concurrency")
    assert table["x"].equals(table["load"])


def test_a_lack_of_prompts_is_no_lack_of_scaling(small: Study) -> None:
    rows = small(noise=0.0).assign(
        effective_concurrency=lambda f: np.minimum(f["max_concurrency"], 20),
        output_throughput=lambda f: 7.0 * f["effective_concurrency"],
    )
    assert scaling(rows)["mean"].to_numpy() == pytest.approx(1.0)


def test_points_of_the_pareto_figure_say_their_load(small: Study) -> None:
    axes = draw(small(2), "pareto").axes[0]
    assert {text.get_text() for text in axes.texts} == {"1", "8", "64"}


@pytest.mark.slow
def test_the_papers_figures_have_its_workload_and_load_as_asked(study: Study) -> None:
    rows = study(2)
    rows["num_prompts"] = 100
    assert len(draw(rows, "figure-2").axes) == 1
    bars = " ".join(texts(encoded(draw(rows, "figure-2"), "svg")))
    assert "concurrency 128" in bars
    assert "decode-heavy" in bars
    latency = " ".join(texts(encoded(draw(rows, "figure-4"), "svg")))
    assert "concurrency 32" in latency
    assert ticks(draw(rows, "figure-3").axes[0].xaxis)[-1] == "128"
    with pytest.raises(UnknownName, match="decode-heavy"):
        draw(rows[rows["workload"] != "decode-heavy"], "figure-2")


@pytest.mark.slow
def test_figures_are_as_wide_as_a_papers_columns(small: Study, tmp_path: Path) -> None:
    style = tmp_path / "own.mplstyle"
    style.write_text("axes.facecolor: eeeeff\n")
    for columns, width in ((1, 3.49), (2, 7.14)):
        sheet = Sheet(columns, style)
        figure = draw(small(2), "throughput", sheet=sheet)
        assert figure.get_size_inches()[0] == pytest.approx(width, abs=0.01)
        assert mpl.colors.to_hex(figure.axes[0].get_facecolor()) == "#eeeeff"
        assert encoded(figure, "pdf", sheet).startswith(b"%PDF")
    with pytest.raises(BadValue, match="1 or 2"):
        Sheet(3)
    style.write_text("no.such.setting: 1\n")
    with pytest.raises(BadFile, match="style file"):
        draw(small(), "bars", sheet=Sheet(1, style))
    with pytest.raises(BadFile, match="style file"):
        draw(small(), "bars", sheet=Sheet(style=tmp_path / "absent"))


@pytest.mark.slow
def test_nothing_of_a_narrow_figure_is_cut_off_or_written_over(study: Study) -> None:
    for kind in ("throughput", "bars", "latency-bars", "heatmap", "pareto"):
        figure = draw(study(2), kind, sheet=Sheet(1))
        figure.draw_without_rendering()
        page = figure.bbox
        drawn = [
            a.get_window_extent() for axes in figure.axes for a in (axes.title, axes.xaxis.label)
        ]
        drawn += [legend.get_window_extent() for legend in figure.legends]
        for box in drawn:
            assert box.x0 >= page.x0 - 1
            assert box.x1 <= page.x1 + 1
        (legend,) = figure.legends
        below = legend.get_window_extent().y1
        labels = [axes.xaxis.label for axes in figure.axes if axes.xaxis.label.get_text()]
        assert all(name.get_window_extent().y0 > below - 2 for name in labels), kind


def test_techniques_of_one_layout_look_alike_and_never_the_same() -> None:
    plain, fp8, int4 = (style_of(name) for name in ("tp", "tp · fp8", "tp · int4"))
    assert plain.colour == fp8.colour == int4.colour
    assert plain.dash not in {fp8.dash, int4.dash}
    assert plain.marker not in {fp8.marker, int4.marker}
    assert style_of("ep · fp8").colour == style_of("ep").colour


def luminance(colour: str) -> float:
    rgb = np.array(mpl.colors.to_rgb(colour))
    linear = np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_strategies_differ_by_colour_marker_and_dash_and_keep_them() -> None:
    looks = [style_of(name) for name in ("tp", "ep", "tp+ep", "single")]
    for part in ("colour", "marker", "dash"):
        assert len({getattr(look, part) for look in looks}) == 4
    assert style_of("dp8+ep") == style_of("dp8+ep")
    for name in ("tp", "ep", "tp+ep", "single", *(f"tp{n}" for n in range(2, 40))):
        assert 1.05 / (luminance(style_of(name).colour) + 0.05) >= 2


@pytest.mark.slow
def test_names_from_files_are_text_and_never_formulas(small: Study) -> None:
    name = "$\\frac{1}{0}$ <b>&\x1b[31m"
    found = texts(encoded(draw(small(model=name), "throughput"), "svg"))
    assert "$\\frac{1}{0}$ <b>&[31m" in found


def test_curves_are_means_with_t_intervals(small: Study) -> None:
    rows = small(4)
    line = curves(rows, "output_throughput").iloc[0]
    cell = rows[
        (rows["model"] == line["model"])
        & (rows["workload"] == line["workload"])
        & (rows["strategy"] == line["strategy"])
        & (rows["max_concurrency"] == line["load"])
    ]["output_throughput"]
    half = 3.182446305284263 * cell.std(ddof=1) / 2
    assert line["mean"] == pytest.approx(cell.mean(), rel=1e-9)
    assert line["high"] == pytest.approx(line["mean"] * np.exp(half / line["mean"]), rel=1e-9)
    assert curves(small(), "output_throughput")["low"].isna().all()


def test_scaling_is_one_at_the_lowest_load_and_linear_where_it_is(small: Study) -> None:
    rows = small(noise=0.0).assign(output_throughput=lambda f: 7.0 * f["max_concurrency"])
    assert scaling(rows)["mean"].to_numpy() == pytest.approx(1.0)


@pytest.mark.parametrize("alone", [False, True])
def test_the_front_is_what_no_other_cell_beats(small: Study, alone: bool) -> None:
    rows = small()
    one = rows[(rows["model"] == rows["model"][0]) & (rows["workload"] == rows["workload"][0])]
    table = per_user(one if alone else rows)
    assert table["front"].any()
    for _, here in table.groupby(["model", "workload"]):
        points = here[["per_user", "mean"]].to_numpy()
        for point, on_front in zip(points, here["front"], strict=True):
            beaten = (points >= point).all(axis=1) & (points > point).any(axis=1)
            assert on_front == (not beaten.any())


@pytest.mark.slow
def test_winners_lead_by_the_ratio_and_are_settled_by_replicates(small: Study) -> None:
    table = winners(small(6, noise=0.001))
    assert set(table["strategy"]) == {"tp"}
    assert table["lead"].to_numpy() == pytest.approx(1 / 0.9, rel=0.02)
    assert table["settled"].all()
    assert set(winners(small())["settled"]) == {None}
    latency = winners(small(), ComparisonSpec(response="mean_ttft_ms"))
    assert set(latency["strategy"]) == {"tp"}


def test_residuals_pair_what_was_measured_with_its_estimate(small: Study) -> None:
    rows = both(small)
    scale = np.where(rows["provenance"] == "measured", 2.0, 1.0)
    same = small(noise=0.0)
    pair = pd.concat([same, same.assign(provenance="measured")], ignore_index=True)
    pair["output_throughput"] *= np.repeat([1.0, 2.0], len(same))
    assert residuals(pair)["ratio"].to_numpy() == pytest.approx(2.0)
    assert len(residuals(rows.assign(output_throughput=rows["output_throughput"] * scale))) == 27
    with pytest.raises(BadFile, match="no measured runs"):
        residuals(small())


def test_views_narrow_and_refuse_what_is_not_there(small: Study) -> None:
    figure = draw(
        small(), "throughput", PlotSelection(models=("OLMoE-1B-7B",), workloads=("balanced",))
    )
    assert len(figure.axes) == 1
    with pytest.raises(UnknownName, match="Did you mean balanced"):
        draw(small(), "throughput", PlotSelection(workloads=("balance",)))
    with pytest.raises(BadValue, match="never pooled"):
        draw(both(small), "throughput")


def test_a_timeline_shows_waiting_streaming_and_failures() -> None:
    rows = pd.DataFrame(
        {
            "request": [0, 1], "due_s": [0.0, 1.0], "sent_s": [0.1, 1.0],
            "first_token_s": [0.5, np.nan], "done_s": [2.0, 1.5], "status": ["ok", "failed"],
        }
    )  # fmt: skip
    figure = timeline(rows, "run-1", "measured")
    found = " ".join(filter(None, texts(encoded(figure, "svg"))))
    for word in ("waiting in the client", "to the first token", "streaming", "failed", "(s)"):
        assert word in found


def test_labels_carry_units() -> None:
    assert label_of("p99_ttft_ms") == "P99 time to first token (ms)"
    assert label_of("output_throughput_per_gpu").endswith("(tokens/s/GPU)")
