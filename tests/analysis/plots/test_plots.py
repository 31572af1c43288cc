"""Figures: every kind draws, colours keep their strategy, names stay text."""

import xml.etree.ElementTree as ET
from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from analysis.plots import KINDS, PlotSelection, draw
from analysis.plots.save import encoded
from analysis.plots.timeline import timeline
from analysis.question import ComparisonSpec
from analysis.series import curves, per_user, residuals, scaling
from analysis.style import label_of, style_of
from analysis.winners import winners
from catalog.errors import BadFile, BadValue, UnknownName

Study = Callable[..., pd.DataFrame]


def texts(svg: bytes) -> list[str]:
    return [e.text for e in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def both(small: Study) -> pd.DataFrame:
    return pd.concat([small(2), small(1, seed=9, provenance="measured")], ignore_index=True)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_draws_with_units_and_a_legend(small: Study, kind: str) -> None:
    rows = both(small) if kind == "residuals" else small(2)
    found = " ".join(filter(None, texts(encoded(draw(rows, kind), "svg"))))
    assert "tp" in found
    assert "simulated" in found
    assert any(unit in found for unit in ("tokens/s", "ms", "1 = linear", "Measured / estimated"))


def test_the_same_figure_gives_the_same_bytes(small: Study) -> None:
    one, two = (encoded(draw(small(), "bars"), "svg") for _ in range(2))
    assert one == two


def test_png_is_drawn_too(small: Study) -> None:
    assert encoded(draw(small(), "bars"), "png").startswith(b"\x89PNG")


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


def test_the_front_is_what_no_other_cell_beats(small: Study) -> None:
    table = per_user(small())
    for _, here in table.groupby(["model", "workload"]):
        points = here[["per_user", "mean"]].to_numpy()
        for point, on_front in zip(points, here["front"], strict=True):
            beaten = (points >= point).all(axis=1) & (points > point).any(axis=1)
            assert on_front == (not beaten.any())


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
