"""The page in a real Chromium, driven over its DevTools protocol."""

import base64
import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analysis.report.write import ReportOptions, report_html
from tests.chromium import CHROMIUM, DESKTOP, FRAMES, PHONE, Device, Tab
from tests.machine import limit

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]
Study = Callable[..., pd.DataFrame]


HOSTILE = (
    "</script><script>window.stolen=1</script>",
    '<img src=x onerror="window.stolen=1">',
    "'\"><svg onload=window.stolen=1>",
    "{{ 7*7 }}\u2028${window.stolen=1}",
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, study: Study, small: Study) -> Path:
    """A plain study, and one with hostile names everywhere."""
    folder = tmp_path_factory.mktemp("pages")
    frames = {"plain": study(3), "hostile": hostile(small())}
    for name, frame in frames.items():
        (folder / f"{name}.html").write_text(report_html(frame, ReportOptions(title="T " + name)))
    return folder


def hostile(frame: pd.DataFrame) -> pd.DataFrame:
    names = itertools.cycle(HOSTILE)
    changes = {column: {level: next(names) for level in frame[column].unique()}
               for column in ("model", "strategy", "workload")}  # fmt: skip
    changed = frame.replace(changes)
    changed.loc[:3, "verdict"] = "invalid"
    return changed.assign(verdict_reasons=HOSTILE[0], gpu_type=HOSTILE[1], provenance=HOSTILE[0])


def large(study: Study) -> pd.DataFrame:
    parts = [study(4, seed=s).assign(model=f"model-{s:02}") for s in range(14)]
    frame = pd.concat(parts, ignore_index=True)[:10_000]
    return frame.assign(run_id=[f"run-{i}" for i in range(len(frame))])


async def test_the_page_draws_and_asks_for_nothing(tab: Tab, pages: Path) -> None:
    await tab.open(pages / "plain.html")
    assert await tab.run("document.querySelectorAll('#charts svg').length") == 3
    assert await tab.run("document.querySelectorAll('#charts path.mark').length") == 63
    assert await tab.run("document.querySelectorAll('#winners td[data-tell]').length") == 63
    assert await tab.run("document.querySelectorAll('#matrix td[data-tell]').length") == 126
    assert await tab.run("document.querySelectorAll('#more-charts svg').length") == 0
    await tab.run("document.querySelector('#more-charts').parentElement.open = true")
    await tab.run(FRAMES)
    assert await tab.run("document.querySelectorAll('#more-charts svg').length") == 3
    assert tab.problems == []
    assert [a for a in tab.addresses if not a.startswith(("file:", "data:"))] == []


async def test_filters_legend_search_and_sorting_work(tab: Tab, pages: Path) -> None:
    choose = """(name, value) => { const s = document.querySelector(`[name=${name}]`);
        s.value = value; s.dispatchEvent(new Event('change')); }"""
    await tab.open(pages / "plain.html")
    await tab.run(f"({choose})('model', 'OLMoE-1B-7B')")
    await tab.run(f"({choose})('metric', 'mean_ttft_ms')")
    await tab.run(FRAMES)
    captions = await tab.run(
        "[...document.querySelectorAll('#charts figcaption')].map(c => c.textContent)"
    )
    assert all(caption.startswith("OLMoE-1B-7B") for caption in captions)
    assert any("time to first token (ms)" in caption for caption in captions)
    before = await tab.run("document.querySelectorAll('#charts path.mark').length")
    await tab.run("document.querySelector('#legend button').click()")
    await tab.run(FRAMES)
    assert await tab.run("document.querySelectorAll('#charts path.mark').length") < before
    pressed = "document.querySelector('#legend button').getAttribute('aria-pressed')"
    assert await tab.run(pressed) == "false"
    await tab.run("""{ const box = document.querySelector('#run-table input');
        box.value = 'olmoe'; box.dispatchEvent(new Event('input')); }""")
    assert "189 rows" in await tab.run("document.querySelector('#run-table').textContent")
    heads = "[...document.querySelectorAll('#run-table th button')]"
    await tab.run(f"{heads}.find(b => b.textContent === 'tokens/s').click()")
    column = await tab.run(
        f"(i => [...document.querySelectorAll('#run-table tbody tr')]"
        f".map(r => Number(r.children[i].textContent.replaceAll(',', ''))))"
        f"({heads}.findIndex(b => b.textContent === 'tokens/s'))"
    )
    assert column == sorted(column)
    assert len(column) == 10
    assert tab.problems == []


async def test_arrow_keys_read_the_points_out(tab: Tab, pages: Path) -> None:
    await tab.open(pages / "plain.html")
    await tab.run("document.querySelector('#charts svg').focus()")
    said = []
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        await tab.key(key)
        said.append(await tab.run("document.getElementById('live').textContent"))
    assert re.match(r"tp: \d+.* \[.*\]; concurrency 1, 3 runs", said[0])
    assert "concurrency 4" in said[1]
    assert said[2].startswith("ep:")
    await tab.key("Escape")
    assert await tab.run("document.querySelector('#charts .tip').hidden")


@pytest.mark.parametrize("device", [PHONE, DESKTOP], ids=["390", "1280"])
async def test_no_name_makes_the_page_wider_than_the_screen(
    tab: Tab, pages: Path, device: Device
) -> None:
    await tab.open(pages / "hostile.html", device=device)
    for _ in range(2):
        assert await tab.run("document.documentElement.scrollWidth") <= device["width"]
        await tab.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        await tab.run(FRAMES)


async def test_hostile_names_are_shown_and_never_run(tab: Tab, pages: Path) -> None:
    await tab.open(pages / "hostile.html")
    assert await tab.run("typeof window.stolen") == "undefined"
    assert await tab.run("document.querySelectorAll('img, svg[onload]').length") == 0
    assert await tab.run("document.querySelectorAll('script').length") == 2
    text = await tab.run("document.body.innerText")
    for name in HOSTILE[:3]:
        assert name in text
    assert "{{ 7*7 }}" in text
    assert tab.problems == []


@pytest.mark.slow
async def test_ten_thousand_runs_open_within_two_seconds(
    tab: Tab, study: Study, tmp_path: Path
) -> None:
    """Slow because such a study takes a while to analyse; the browser's own clock is read."""
    page = tmp_path / "large.html"
    page.write_text(report_html(large(study)))
    assert page.stat().st_size < 3e6
    await tab.open(page)
    assert "10,000 rows" in await tab.run("document.querySelector('#run-table').textContent")
    loaded = await tab.run("performance.getEntriesByType('navigation')[0].loadEventEnd")
    assert loaded < 1e3 * limit(1.0)
    assert tab.problems == []


CONTRAST = """(() => {
  const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(v => {
      const s = v / 255; return s <= 0.03928 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = light(getComputedStyle(document.body).backgroundColor);
  const ratio = own => (Math.max(own, ground) + 0.05) / (Math.min(own, ground) + 0.05);
  const worst = (selector, property) => Math.min(...[...document.querySelectorAll(selector)]
      .map(e => ratio(light(getComputedStyle(e)[property]))));
  return [worst('p, li, h1, h2, h4, a', 'color'), worst('.tick, .label', 'fill'),
          worst('path.mark', 'fill')];
})()"""


@pytest.mark.parametrize("dark", [False, True])
async def test_text_and_marks_stand_out_from_the_ground(tab: Tab, pages: Path, dark: bool) -> None:
    """WCAG 2.1: 4.5 to 1 for text, 3 to 1 for marks."""
    await tab.open(pages / "plain.html", dark=dark)
    text, labels, marks = await tab.run(CONTRAST)
    assert text >= 4.5
    assert labels >= 4.5
    assert marks >= 3


async def test_everything_interactive_has_a_name_and_is_reached_by_tab(
    tab: Tab, pages: Path
) -> None:
    await tab.open(pages / "plain.html")
    await tab.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    tree = await tab.call("Accessibility.getFullAXTree")
    roles = {"button", "combobox", "checkbox", "searchbox", "link", "application"}
    nodes = [n for n in tree["nodes"] if n.get("role", {}).get("value") in roles]
    assert len(nodes) > 30
    assert [n for n in nodes if not n.get("name", {}).get("value", "").strip()] == []
    headings = await tab.run(
        "[...document.querySelectorAll('h1, h2')].map(h => h.tagName + h.textContent)"
    )
    assert headings[0].startswith("H1")
    assert headings[1] == "H2Answer"


async def test_on_paper_the_controls_are_gone(tab: Tab, pages: Path) -> None:
    await tab.open(pages / "plain.html", dark=True, media="print")
    shown = "getComputedStyle(document.querySelector('#filters')).display"
    assert await tab.run(shown) == "none"
    ground = "getComputedStyle(document.body).backgroundColor"
    assert await tab.run(ground) == "rgb(255, 255, 255)"
    printed = await tab.call("Page.printToPDF")
    assert len(base64.b64decode(printed["data"])) > 20_000
