"""The page's boxes in a real Chromium: three widths, light, dark and paper; folded and opened."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.report.write import report_html
from tests.chromium import CHROMIUM, DESKTOP, FRAMES, PHONE, Device, Tab

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]
Study = Callable[..., pd.DataFrame]
TABLET: Device = {"width": 1024, "height": 768, "deviceScaleFactor": 1, "mobile": False}
WIDE: Device = {"width": 1920, "height": 1080, "deviceScaleFactor": 1, "mobile": False}
PAPER = 718
"""A4 between its margins, in CSS pixels."""

# Boxes of which none may lie on another but those it is inside of, or leave the page; inside of
# what scrolls a box may be out of sight. Of a figure's texts none may cover another.
FAULTS = """(() => {
  const seen = e => e.checkVisibility({ visibilityProperty: true });
  const boxes = [...document.querySelectorAll('h1, h2, h3, p, ul, summary, select, input, button, '
    + '.origin, .answer, figcaption, svg, .scroll, pre, dl')]
    .filter(e => seen(e) && !e.closest('.visually-hidden, .tip, button svg, .skip'))
    .filter(e => !e.parentElement.closest('.scroll, button, summary') || e.matches('button'))
    .map(e => [e, e.getBoundingClientRect()]);
  const name = e => e.tagName + '.' + (e.id || e.className.baseVal || e.className || '')
    + ' ' + e.textContent.slice(0, 25);
  const cross = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
  const found = [];
  const width = document.documentElement.clientWidth;
  boxes.forEach(([one, a], i) => {
    if (!one.closest('.scroll') || one.matches('.scroll'))
      if (a.left < -1 || a.right > width + 1) found.push('outside: ' + name(one));
    for (const [other, b] of boxes.slice(i + 1))
      if (!one.contains(other) && !other.contains(one) && cross(a, b))
        found.push(name(one) + ' on ' + name(other));
  });
  for (const svg of document.querySelectorAll('.plot svg')) {
    const frame = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll('text')].map(t => [t, t.getBoundingClientRect()]);
    texts.forEach(([one, a], i) => {
      if (a.left < frame.left - 1 || a.right > frame.right + 1) found.push('cut: ' + name(one));
      for (const [other, b] of texts.slice(i + 1))
        if (cross(a, b)) found.push('text: ' + name(one) + ' on ' + name(other));
    });
  }
  return found;
})()"""
UNFOLD = "document.querySelectorAll('details').forEach(d => { d.open = true; })"
ONCE = """{ const Seen = ResizeObserver; window.ResizeObserver = class {
  constructor(told) { this.seen = new Seen((...all) => { told(...all); }); Drawn.push(this.seen); }
  observe(element) { this.seen.observe(element); } }; window.Drawn = []; }"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, study: Study) -> Path:
    """Five replicates of 189 runs that tell all they can, loads that were not reached too."""
    rows = study(5)
    rows["effective_concurrency"] = 0.9 * np.minimum(rows["max_concurrency"], 100)
    rows["usd_per_million_output_tokens"] = 2e3 / rows["output_throughput"]
    rows["num_prompts"] = np.where(rows["workload"] == "balanced", 20, 100)
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(report_html(rows))
    return path


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("device", [PHONE, TABLET, WIDE], ids=["390", "1024", "1920"])
async def test_no_box_lies_on_another_or_leaves_the_page(
    tab: Tab, page: Path, device: Device, dark: bool
) -> None:
    await tab.open(page, device=device, dark=dark)
    assert await tab.run("document.documentElement.scrollWidth") <= device["width"]
    assert await tab.run(FAULTS) == []
    await tab.run(UNFOLD)
    await tab.run(FRAMES)
    assert await tab.run("document.querySelectorAll('#more-charts svg').length") == 3
    assert await tab.run("document.documentElement.scrollWidth") <= device["width"]
    assert await tab.run(FAULTS) == []
    assert tab.problems == []


@pytest.mark.parametrize("device", [PHONE, DESKTOP, WIDE], ids=["390", "1280", "1920"])
async def test_nothing_lies_on_another_on_paper(tab: Tab, page: Path, device: Device) -> None:
    """The browser lays the page out for paper and draws no figure anew."""
    await tab.call("Page.addScriptToEvaluateOnNewDocument", source=ONCE)
    await tab.open(page, device=device)
    await tab.run(UNFOLD)
    await tab.run(FRAMES)
    await tab.run("Drawn.forEach(seen => seen.disconnect())")
    paper = {**DESKTOP, "width": PAPER}
    await tab.call("Emulation.setDeviceMetricsOverride", **paper)
    await tab.call("Emulation.setEmulatedMedia", media="print")
    assert await tab.run("matchMedia('print').matches")
    assert await tab.run(FAULTS) == []
    widths = "[...document.querySelectorAll('.plot svg')].map(s => s.getBoundingClientRect().width)"
    assert max(await tab.run(widths)) < PAPER / 2 + 1


async def test_a_study_of_189_runs_is_five_screens_with_any_number_of_replicates(
    tab: Tab, page: Path, study: Study, tmp_path: Path
) -> None:
    single = tmp_path / "single.html"
    single.write_text(report_html(study()))
    height = "document.documentElement.scrollHeight"
    for device, most in ((PHONE, 9_000), (DESKTOP, 5 * DESKTOP["height"])):
        await tab.open(single, device=device)
        once = await tab.run(height)
        await tab.open(page, device=device)
        assert await tab.run(height) <= most
        assert once <= most


async def test_matrices_are_turned_on_a_phone(tab: Tab, page: Path) -> None:
    heads = (
        "[...document.querySelectorAll('#matrix tbody tr:first-child th')].map(t => t.textContent)"
    )
    await tab.open(page, device=PHONE)
    assert await tab.run("document.querySelectorAll('#matrix table').length") == 3
    assert (await tab.run(heads))[0] == "1"
    cut = "[...document.querySelectorAll('.matrix')].some(m => m.scrollWidth > m.clientWidth)"
    assert await tab.run(cut) is False
    await tab.open(page, device=DESKTOP)
    assert await tab.run("document.querySelectorAll('#matrix table').length") == 1
    assert await tab.run(heads) == ["Mixtral-8x7B", "decode-heavy", "ep"]


async def touch(tab: Tab, selector: str) -> None:
    box: Any = await tab.run(
        f"(e => {{ e.scrollIntoView({{block: 'center', behavior: 'instant'}});"
        "const b = e.getBoundingClientRect();"
        f"return [b.x + b.width / 2, b.y + b.height / 2]; }})(document.querySelector('{selector}'))"
    )
    points = [{"x": box[0], "y": box[1]}]
    await tab.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=points)
    await tab.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    await tab.run(FRAMES)


async def test_a_tap_shows_what_a_mark_and_a_cell_stand_for(tab: Tab, page: Path) -> None:
    await tab.call("Emulation.setTouchEmulationEnabled", enabled=True)
    await tab.open(page, device=PHONE)
    tip = "(t => !t || t.hidden ? '' : t.textContent)(document.querySelector('{} .tip'))"
    assert await tab.run(tip.format("#charts")) == ""
    await touch(tab, "#charts path.mark")
    said = await tab.run(tip.format("#charts"))
    assert "concurrency" in said
    assert "in flight" in said
    assert "5 runs" in said
    await touch(tab, "#matrix td[data-tell]")
    told = await tab.run(tip.format("#matrix"))
    assert "Mixtral-8x7B, decode-heavy, load 1: ep gives" in told
    assert "95 % interval" in told


async def test_arrow_keys_walk_through_a_matrix_and_read_it_out(tab: Tab, page: Path) -> None:
    await tab.open(page)
    await tab.run("document.querySelector('#winners .matrix').focus()")
    said = []
    for key in ("ArrowRight", "ArrowDown"):
        await tab.key(key)
        said.append(await tab.run("document.getElementById('live').textContent"))
    assert said[0].startswith("Mixtral-8x7B, decode-heavy, concurrency 1: tp")
    assert said[1].startswith("Mixtral-8x7B, decode-heavy, concurrency 4: ")
    await tab.key("Escape")
    assert await tab.run("document.querySelector('#winners .tip').hidden")


async def test_the_axis_is_what_was_in_flight_and_its_ticks_are_plain(tab: Tab, page: Path) -> None:
    await tab.open(page)
    labels = await tab.run(
        "[...document.querySelectorAll('#charts svg text.label')].map(t => t.textContent)"
    )
    assert "Requests in flight (mean)" in labels
    ticks = await tab.run(
        "[...document.querySelector('#charts figure').querySelectorAll('text.tick')]"
        ".map(t => t.textContent)"
    )
    assert ticks[:7] == ["1", "2", "4", "8", "16", "32", "64"]
    legend = await tab.run("document.querySelector('#legend').textContent")
    assert "tp+ep, 4 × A100-80GB" in legend
