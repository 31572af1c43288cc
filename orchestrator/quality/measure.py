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
from catalog.inside import own_folder
from orchestrator.engine import Callbacks, Engine, LaunchContext, Session
from orchestrator.engines.registry import engine_kind
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.host.files import write_durably
from orchestrator.measure.http_session import HttpBacked
from orchestrator.plan import Study
from orchestrator.quality.record import QualityRecord, QualitySpec
from orchestrator.quality.store import folder_of, read_records, write_scores
from orchestrator.results.masked import masked
from workloads.quality.client import QualityClient, client_session
from workloads.quality.scores import Scores
from workloads.quality.windows import read_text, windows_of

CHARACTERS_PER_TOKEN = 16
"""Text cut to this many characters a token asked for holds enough tokens in any tokenizer."""
PROGRESS_UPDATES = 4


@dataclass(frozen=True, slots=True)
class QualityProgress:
    """Functions called with the stages and failures of a quality measurement."""

    stage: Callable[[ServerGroup, str], None] = lambda *_: None
    failed: Callable[[ServerGroup, MoeserveError], None] = lambda *_: None


def groups_of(study: Study) -> tuple[ServerGroup, ...]:
    """Return one server of each configuration, in the order asked."""
    first = {group.setup: group for group in reversed(study.plan.groups)}
    return tuple(first[setup] for setup in study.plan.setups)


def check_possible(study: Study) -> None:
    """Raise BadValue where the study's engine cannot be asked for quality."""
    why = engine_kind(study.engine).no_quality
    if why:
        raise BadValue("--engine", study.engine, why)


async def measure_quality(
    study: Study, root: Path, spec: QualitySpec, *, engine: Engine, progress: QualityProgress
) -> list[ServerGroup]:
    """Measure every configuration without a record; return those whose server failed."""
    read_text(spec.text)
    folder = folder_of(root)
    done = {record.configuration_id for record in read_records(root)}
    failed = []
    for group in groups_of(study):
        if spec.configuration_id(group.setup) in done:
            continue
        logs = _log_folder(folder, group)
        context = LaunchContext(
            experiment=study.plan.experiment,
            model=study.plan.models[group.setup.model],
            folder=logs,
            gpus=tuple(device.visible_as for device in study.devices) or None,
        )
        callbacks = Callbacks(on_stage=functools.partial(progress.stage, group))
        try:
            async with engine.open(group, context, callbacks) as session:
                await _measure_group(group, session, spec, folder, callbacks)
        except MoeserveError as error:
            progress.failed(group, error)
            failed.append(group)
    return failed


def _log_folder(folder: Path, group: ServerGroup) -> Path:
    return own_folder(folder, "servers", group.group_id)


async def _measure_group(
    group: ServerGroup, session: Session, spec: QualitySpec, folder: Path, callbacks: Callbacks
) -> None:
    started, began_s = datetime.now(UTC), time.perf_counter()
    scores = await score_text(session, spec, callbacks)
    name = spec.configuration_id(group.setup)
    interval = scores.perplexity_interval or (None, None)
    record = QualityRecord(
        configuration_id=name,
        setup=group.setup.stored,
        provenance=session.provenance,
        gpu_type=session.gpu_type,
        text=spec.text,
        text_sha256=spec.sha256,
        window=spec.window,
        top=spec.top,
        predicted_tokens=scores.num_predicted,
        perplexity=scores.perplexity,
        perplexity_low=interval[0],
        perplexity_high=interval[1],
        scores_sha256=await asyncio.to_thread(write_scores, folder, name, scores),
        started_at=started.isoformat(timespec="microseconds"),
        duration_s=time.perf_counter() - began_s,
        details=masked(_plain(session.details)),
    )
    write_durably(folder / f"{name}.json", msgspec.json.format(msgspec.json.encode(record)))


async def score_text(session: Session, spec: QualitySpec, callbacks: Callbacks) -> Scores:
    """Turn the text into windows with the server's tokenizer, and have every one scored."""
    assert isinstance(session, HttpBacked)  # engines without HTTP are refused before
    http = session.http
    text = read_text(spec.text)[: spec.tokens * CHARACTERS_PER_TOKEN]
    async with client_session(http.target) as connection:
        client = QualityClient(http.target, connection, spec.top)
        tokens = await client.tokens(text)
        windows = windows_of(tokens, window=spec.window, limit=spec.tokens)
        total = len(windows)
        interval = max(1, total // PROGRESS_UPDATES)

        def on_window(done: int) -> None:
            if done % interval == 0:
                callbacks.on_stage(f"quality: {done} of {total} windows")

        return await client.score(windows, on_window=on_window)


def _plain(details: Mapping[str, Any]) -> dict[str, str | int | float | None]:
    kept = (str, int, float, type(None))
    return {name: value for name, value in details.items() if isinstance(value, kept)}
