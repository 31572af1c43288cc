"""What a results directory says while a study is under way, read from outside."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from analysis.watch.onlooker import Onlooker
from analysis.watch.server import HOST, WatchPage, serve_page
from catalog.errors import BadValue, ResultsError
from orchestrator.experiment.experiment import Experiment
from orchestrator.results.manifests import Manifest, read_manifest
from orchestrator.results.planned import Planned, PlannedRun, read_planned
from orchestrator.study import prepare, run_study

ASKED = Experiment(
    models=("OLMoE-1B-7B",), strategies=("tp", "ep"), engine="simulated",
    workloads=("16:8:6",), concurrency="1,4",
)  # fmt: skip


@pytest.fixture
async def study(tmp_path: Path) -> Path:
    """Four runs on the simulated engine."""
    root = tmp_path / "out"
    await run_study(await prepare(ASKED), root, listen=lambda _: None)
    return root


def withdraw(root: Path, count: int = 1) -> list[Path]:
    """Take published runs out of the directory, as if they were still to come."""
    taken = sorted((root / "runs").glob("*.json"))[:count]
    for path in taken:
        path.rename(root.parent / path.name)
    return [root.parent / path.name for path in taken]


def fail(root: Path, published: Path, tail: str) -> Manifest:
    """Write a failed attempt at a run that was published."""
    manifest = read_manifest(published.parent, published)
    record = msgspec.structs.replace(
        manifest.record, verdict="failed", verdict_reasons="OUT_OF_MEMORY",
        error="OUT_OF_MEMORY: no room", output_throughput=None,
    )  # fmt: skip
    failed = msgspec.structs.replace(manifest, record=record, details={"log_tail": tail}, files=())
    path = root / "failed" / f"{record.run_id}.a1.json"
    path.write_bytes(msgspec.json.encode(failed))
    return failed


async def test_a_study_is_seen_to_grow_and_to_end(study: Path) -> None:
    taken = withdraw(study, 2)
    onlooker = Onlooker(study)
    seen = onlooker.look()
    assert (seen["planned"], seen["left"]) == (4, 2)
    assert seen["verdicts"] == {"valid": 2}
    assert seen["runs"]["rows"] == 2
    for path in taken:
        path.rename(study / "runs" / path.name)
    seen = onlooker.look()
    assert (seen["left"], seen["runs"]["rows"], seen["server"]) == (0, 4, None)
    assert "run" in seen["runs"]["columns"]


async def test_runs_in_progress_are_named_with_the_requests_that_ended(study: Path) -> None:
    (taken,) = withdraw(study)
    attempt = study / "attempts" / f"{taken.stem}.a1"
    log = attempt / "requests.jsonl"
    log.write_text('{"request": 0}\n{"request": 1}\n{"requ')
    onlooker = Onlooker(study)
    (run,) = onlooker.look()["now"]
    assert (run["ended"], run["of"]) == (2, 6)
    assert "OLMoE-1B-7B" in run["name"]
    assert "16:8:6" in run["name"]
    with log.open("a") as more:
        more.write('est": 2}\n')
    assert onlooker.look()["now"][0]["ended"] == 3
    log.unlink()
    assert onlooker.look()["now"] == []


async def test_failures_come_with_the_end_of_their_log_and_say_if_they_were_mended(
    study: Path,
) -> None:
    (taken,) = withdraw(study)
    fail(study, taken, "line 1\n\x1b[31mOut of memory\nHF_TOKEN=hf_abcdefghijklmnopqrstuvwxyz0123")
    onlooker = Onlooker(study)
    seen = onlooker.look()
    (failure,) = seen["failures"]
    assert failure["error"] == "OUT_OF_MEMORY: no room"
    assert "Out of memory" in failure["log"]
    assert "\x1b" not in failure["log"]
    assert "hf_abcdefghijklmnopqrstuvwxyz0123" not in json.dumps(seen)
    assert failure["mended"] is False
    assert seen["verdicts"] == {"valid": 3, "failed": 1}
    taken.rename(study / "runs" / taken.name)
    seen = onlooker.look()
    assert seen["failures"][0]["mended"] is True
    assert seen["verdicts"] == {"valid": 4}


async def test_what_is_damaged_is_said_and_hides_nothing_else(study: Path) -> None:
    first, *_ = sorted((study / "runs").glob("*.json"))
    first.unlink()
    first.write_text("{")
    (study / "failed" / "x.a1.json").symlink_to("/etc/passwd")
    (study / "planned.json").write_text("[]")
    seen = Onlooker(study).look()
    assert {f["run"] for f in seen["failures"]} == {
        f"runs/{first.name}", "failed/x.a1.json", "planned.json",
    }  # fmt: skip
    assert seen["runs"]["rows"] == 3
    assert seen["planned"] is None
    assert "root:" not in json.dumps(seen)


async def test_what_was_damaged_and_moved_away_is_not_said_for_ever(study: Path) -> None:
    onlooker, plan = Onlooker(study), (study / "planned.json").read_bytes()
    first, *_ = sorted((study / "runs").glob("*.json"))
    whole = first.read_bytes()
    for name in (first, study / "planned.json"):
        name.unlink()
        name.write_text("{")
    damaged: Any = onlooker.look()
    assert len(damaged["failures"]) == 2
    (study / "planned.json").write_bytes(plan)
    first.unlink()
    assert onlooker.look()["failures"] == []
    first.write_bytes(whole)
    mended: Any = onlooker.look()
    assert mended["runs"]["rows"] == 4


async def test_an_unknown_plan_is_no_plan_of_none(study: Path, tmp_path: Path) -> None:
    (study / "planned.json").unlink()
    seen = Onlooker(study).look()
    assert (seen["planned"], seen["left"], seen["left_s"]) == (None, None, None)
    assert seen["verdicts"] == {"valid": 4}
    nothing = Onlooker(tmp_path / "absent").look()
    assert nothing["there"] is False
    assert nothing["runs"]["rows"] == 0


async def test_another_study_in_the_same_place_is_another(study: Path) -> None:
    onlooker = Onlooker(study)
    assert onlooker.look()["runs"]["rows"] == 4
    shutil.rmtree(study)
    assert onlooker.look()["runs"]["rows"] == 0
    changed = msgspec.structs.replace(ASKED, strategies=("tp",))
    await run_study(await prepare(changed), study, listen=lambda _: None)
    seen = onlooker.look()
    assert (seen["planned"], seen["runs"]["rows"]) == (2, 2)


async def test_more_replicates_are_a_larger_plan(study: Path) -> None:
    more = msgspec.structs.replace(ASKED, num_runs=3)
    await run_study(await prepare(more), study, listen=lambda _: None)
    assert Onlooker(study).look()["planned"] == 12


def test_a_damaged_plan_is_said(tmp_path: Path) -> None:
    plan = Planned(runs={"a": PlannedRun(name="n", num_prompts=1)})
    (tmp_path / "planned.json").write_bytes(msgspec.json.encode(plan))
    assert read_planned(tmp_path) == plan
    (tmp_path / "planned.json").write_text('{"runs": 3}')
    with pytest.raises(ResultsError, match="damaged"):
        read_planned(tmp_path)


async def asked(url: str, **headers: str) -> tuple[int, Any, str]:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status, answer.headers, await answer.text()


async def test_the_page_is_for_this_machine_alone(study: Path) -> None:
    address, end = asyncio.get_running_loop().create_future(), asyncio.Event()

    async def look() -> None:
        url = await address
        assert url.startswith(f"http://{HOST}:")
        status, headers, page = await asked(url)
        assert status == 200
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "connect-src 'self'" in policy
        assert "unsafe" not in policy
        assert "https://" not in page
        status, headers, state = await asked(f"{url}state")
        assert json.loads(state)["planned"] == 4
        assert headers["Cache-Control"] == "no-store"
        assert (await asked(f"{url}state", Host="evil.example"))[0] == 403
        assert (await asked(f"{url}state", Host="127.0.0.1.evil.example:80"))[0] == 403
        assert (await asked(f"{url}runs/x.json"))[0] == 404
        port = int(url.split(":")[-1][:-1])
        with pytest.raises(BadValue, match="a free port"):
            await serve_page(study, port, until=asyncio.Event(), tell=address.set_result)

        end.set()

    looking = asyncio.create_task(look())
    looking.add_done_callback(lambda _: end.set())
    await serve_page(study, 0, until=end, tell=address.set_result)
    await looking


async def test_an_open_page_is_told_of_the_end(study: Path) -> None:
    page = WatchPage(study)
    assert json.loads((await page.state(None)).text or "")["ended"] is False
    page.ended = True
    assert json.loads((await page.state(None)).text or "")["ended"] is True
    assert page.told.is_set()
