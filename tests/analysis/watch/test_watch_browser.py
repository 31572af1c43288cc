"""The page of a study under way in a real Chromium."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from analysis.watch.server import serve_page
from orchestrator.experiment.experiment import Experiment
from orchestrator.results.manifests import read_manifest
from orchestrator.study import prepare, run_study
from tests.chromium import CHROMIUM, DESKTOP, PHONE, Tab
from tests.machine import limit

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]
HOSTILE = "<img src=x onerror='window.stolen=1'>"


async def until_says(tab: Tab, text: str) -> None:
    async with asyncio.timeout(limit(15)):
        while text not in await tab.run("document.body.innerText"):
            await asyncio.sleep(0.1)


async def test_a_study_is_watched_from_its_first_run_to_its_end(tab: Tab, tmp_path: Path) -> None:
    root = tmp_path / "out"
    asked = Experiment(models=("OLMoE-1B-7B",), strategies=("tp", "ep"), engine="simulated",
                       workloads=("16:8:6",), concurrency="1,4")  # fmt: skip
    await run_study(await prepare(asked), root, listen=lambda _: None)
    first, *_ = sorted((root / "runs").glob("*.json"))
    aside = tmp_path / first.name
    first.rename(aside)
    manifest = read_manifest(tmp_path, aside)
    record = msgspec.structs.replace(manifest.record, verdict="failed", error=HOSTILE)
    failed = msgspec.structs.replace(manifest, record=record, details={"log_tail": "the end"})
    (root / "failed" / f"{record.run_id}.a1.json").write_bytes(msgspec.json.encode(failed))
    end, told = asyncio.Event(), asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve_page(root, 0, until=end, tell=told.set_result, linger=True))
    try:
        for device in (PHONE, DESKTOP):
            await tab.open(await told, device=device, shows="#run-table table")
            width = await tab.run("document.documentElement.scrollWidth")
            assert width <= device["width"]
        await until_says(tab, "3 of 4 runs are done")
        assert HOSTILE in await tab.run("document.querySelector('#failures').innerText")
        assert await tab.run("typeof window.stolen") == "undefined"
        await tab.run("document.querySelector('#failures details').open = true")
        aside.rename(first)
        await until_says(tab, "All 4 runs are done.")
        assert "4 rows" in await tab.run("document.querySelector('#run-table').textContent")
        assert "(done since)" in await tab.run("document.querySelector('#failures').innerText")
        assert await tab.run("document.querySelector('#failures details').open")
        assert tab.problems == []
    finally:
        end.set()
        await serving
    await until_says(tab, "moeserve does not answer any more")
