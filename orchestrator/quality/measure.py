"""Measure the quality of every configuration of a plan, each on a server of its own."""

import asyncio
import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from catalog.errors import BadValue, MoeserveError
from orchestrator.engines.base import Engine, Session, Site, Watch
from orchestrator.engines.http_session import HttpSession
from orchestrator.files import write_durably
from orchestrator.plan import ServerGroup
from orchestrator.quality.record import QualityRecord, Question
from orchestrator.quality.store import folder_of, read_records, write_scores
from orchestrator.study import Study
from workloads.quality.client import QualityClient, client_session
from workloads.quality.scores import Scores
from workloads.quality.windows import read_text, windows_of

CHARACTERS_PER_TOKEN = 16
"""Text cut to this many characters a token asked for holds enough tokens in any tokenizer."""
TOLD_TIMES = 4


@dataclass(frozen=True, slots=True)
class Told:
    """What the caller is told while it goes on."""

    stage: Callable[[ServerGroup, str], None] = lambda *_: None
    failed: Callable[[ServerGroup, MoeserveError], None] = lambda *_: None


def groups_of(study: Study) -> tuple[ServerGroup, ...]:
    """Return one server of each configuration, in the order asked."""
    first = {group.setup: group for group in reversed(study.plan.groups)}
    return tuple(first[setup] for setup in study.plan.setups)


def check_possible(study: Study) -> None:
    why = {
        "simulated": "a real engine: a simulated one holds no weights to judge",
        "diffusion": "another engine: a diffusion model gives no left-to-right probabilities",
        "llamacpp": "another engine: llama.cpp's server gives no probabilities of a prompt",
    }
    if study.engine in why:
        raise BadValue("--engine", study.engine, why[study.engine])


async def measure_quality(
    study: Study, root: Path, question: Question, *, engine: Engine, told: Told
) -> list[ServerGroup]:
    """Ask every configuration that has not answered yet; return those whose server failed."""
    read_text(question.text)
    folder = folder_of(root)
    done = {record.configuration_id for record in read_records(root)}
    failed = []
    for group in groups_of(study):
        if question.configuration_id(group.setup) in done:
            continue
        logs = _log_folder(folder, group)
        site = Site(
            experiment=study.plan.experiment,
            model=study.plan.models[group.setup.model],
            folder=logs,
            gpus=tuple(str(device.index) for device in study.devices) or None,
        )
        watch = Watch(on_stage=functools.partial(told.stage, group))
        try:
            async with engine.open(group, site, watch) as session:
                await _keep(group, session, question, folder, watch)
        except MoeserveError as error:
            told.failed(group, error)
            failed.append(group)
    return failed


def _log_folder(folder: Path, group: ServerGroup) -> Path:
    logs = folder / "servers" / group.group_id
    logs.mkdir(parents=True, exist_ok=True)
    return logs


async def _keep(
    group: ServerGroup, session: Session, question: Question, folder: Path, watch: Watch
) -> None:
    started, began_s = datetime.now(UTC), time.perf_counter()
    scores = await ask(session, question, watch)
    name = question.configuration_id(group.setup)
    interval = scores.perplexity_interval or (None, None)
    record = QualityRecord(
        configuration_id=name,
        setup=group.setup,
        provenance=session.provenance,
        gpu_type=session.gpu_type,
        text=question.text,
        text_sha256=question.sha256,
        window=question.window,
        top=question.top,
        predicted_tokens=scores.num_predicted,
        perplexity=scores.perplexity,
        perplexity_low=interval[0],
        perplexity_high=interval[1],
        scores_sha256=await asyncio.to_thread(write_scores, folder, name, scores),
        started_at=started.isoformat(timespec="microseconds"),
        duration_s=time.perf_counter() - began_s,
        details=_plain(session.details),
    )
    write_durably(folder / f"{name}.json", msgspec.json.format(msgspec.json.encode(record)))


async def ask(session: Session, question: Question, watch: Watch) -> Scores:
    """Turn the text into windows with the server's tokenizer, and have every one scored."""
    http = session if isinstance(session, HttpSession) else getattr(session, "http", None)
    assert isinstance(http, HttpSession)  # engines without HTTP are refused before
    text = read_text(question.text)[: question.tokens * CHARACTERS_PER_TOKEN]
    async with client_session(http.target) as connection:
        client = QualityClient(http.target, connection, question.top)
        tokens = await client.tokens(text)
        windows = windows_of(tokens, window=question.window, limit=question.tokens)
        total = len(windows)
        told = max(1, total // TOLD_TIMES)

        def on_window(done: int) -> None:
            if done % told == 0:
                watch.on_stage(f"quality: {done} of {total} windows")

        return await client.score(windows, on_window=on_window)


def _plain(details: Mapping[str, Any]) -> dict[str, str | int | float | None]:
    kept = (str, int, float, type(None))
    return {name: value for name, value in details.items() if isinstance(value, kept)}
