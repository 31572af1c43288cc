"""Which experts a text's tokens go to, and where random ids of the same lengths go.

The engine's server is asked for the routed experts of each prompt (`--expert-load`), so whatever
serves the model routes it. Where tokens go does not depend on the layout: one server a model and
technique is enough, and the degrees and placements of expert parallelism follow by counting.
"""

import functools
import hashlib
import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from catalog.errors import BadValue, EndpointError
from orchestrator.engine import Callbacks, Engine, LaunchContext, Session
from orchestrator.experiment.cells import Setup
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.measure.expert_load import MOST_PROMPTS, counts_by_answer, request_routing
from orchestrator.measure.http_session import HttpBacked, HttpSession
from orchestrator.plan import Study
from orchestrator.results.record import ColumnValue, Row
from perfmodel.expert_balance import balance_figures, max_over_mean, rank_tokens
from perfmodel.routing_file import RoutingFile
from strategies.knobs import PLACEMENTS
from workloads.load.content import TokenIds
from workloads.load.prompts import token_prompts
from workloads.quality.client import QualityClient, client_session
from workloads.quality.windows import SAMPLE, check_text, check_windows, read_text, windows_of

CHARACTERS_PER_TOKEN = 16
RESAMPLES = 1000
RANDOM = "random"

AnswerCounts = NDArray[np.int64]
"""Tokens by prompt, layer and expert: shape (prompts, layers, experts)."""
Placed = tuple[int, str]
"""A degree of expert parallelism and a placement of the experts on its ranks."""


class RoutingSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The text whose tokens are followed, and in prompts of which length."""

    text: str = SAMPLE
    """A file's path, `sample` (the text that ships), or `random`: random ids alone."""
    tokens: int = 16_384
    window: int = 256
    """Tokens of a prompt."""
    degrees: tuple[int, ...] = (2, 4, 8)
    placements: tuple[str, ...] = PLACEMENTS[:1]
    seed: int = 0

    def __post_init__(self) -> None:
        check_windows(window=self.window, limit=self.tokens)
        for degree in self.degrees:
            if degree < 2:
                raise BadValue("--ep", degree, "2 ranks or more")
        for placement in self.placements:
            if placement not in PLACEMENTS:
                raise BadValue("--placement", placement, ", ".join(PLACEMENTS))


@dataclass(frozen=True, slots=True)
class MeasuredRouting:
    """One model's routing of the same number of prompts of either kind."""

    setup: Setup
    provenance: str
    by_kind: dict[str, AnswerCounts]
    """Of random ids, and of the text under its name."""
    window: int

    @property
    def top_k(self) -> int:
        counts = self.by_kind[RANDOM]
        return int(counts[0, 0].sum()) // self.window


def servers_of(study: Study) -> list[ServerGroup]:
    """Return one server for each model and technique, the first that was asked for."""
    first: dict[tuple[str, str], ServerGroup] = {}
    for setup in study.plan.setups:
        group = next(group for group in study.plan.groups if group.setup == setup)
        first.setdefault((setup.model, setup.technique.name), group)
    return list(first.values())


def check_followed(study: Study, spec: RoutingSpec, *, saved: bool) -> Iterator[str]:
    """Refuse before anything is started what could not be counted, or saved, after it.

    Yields the degrees that are left out of a model's rows, and why.
    """
    if spec.text != RANDOM:
        check_text(spec.text, window=spec.window)
    servers = servers_of(study)
    for group in servers:
        experts, what = _experts(study, group), group.setup.what
        if experts < min(spec.degrees):
            raise BadValue("--ep", min(spec.degrees), f"up to the {experts} experts of {what}")
        for degree in spec.degrees:
            if experts < degree:
                yield f"{what}: {experts} experts over {degree} ranks leave ranks empty: left out"
    if saved and len(servers) != 1:
        names = ", ".join(group.setup.what for group in servers)
        raise BadValue("--save", names, "one model and technique")


def _experts(study: Study, group: ServerGroup) -> int:
    experts = study.plan.stored(group.setup).experts  # a technique may hold fewer
    if experts is None:
        raise BadValue("--model", group.setup.model, "a mixture of experts: this one has none")
    return experts.count


async def measure_routing(
    study: Study, spec: RoutingSpec, engine: Engine, tell: Callable[[ServerGroup, str], None]
) -> list[MeasuredRouting]:
    """Follow the text and random ids through every model of the study."""
    text = None if spec.text == RANDOM else read_text(spec.text)
    measured = []
    for group in servers_of(study):
        model = study.plan.models[group.setup.model]
        with tempfile.TemporaryDirectory(prefix="moeserve-routing-") as logs:
            context = LaunchContext(
                experiment=study.plan.experiment,
                model=model,
                folder=Path(logs),
                gpus=tuple(device.visible_as for device in study.devices) or None,
            )
            callbacks = Callbacks(on_stage=functools.partial(tell, group))
            async with engine.open(group, context, callbacks) as session:
                by_kind = await _followed(session, spec, text, _experts(study, group), callbacks)
                setup, provenance = group.setup, session.provenance
        measured.append(MeasuredRouting(setup, provenance, by_kind, spec.window))
    return measured


async def _followed(
    session: Session, spec: RoutingSpec, text: str | None, experts: int, callbacks: Callbacks
) -> dict[str, AnswerCounts]:
    assert isinstance(session, HttpBacked)  # engines without HTTP report no experts
    http = session.http
    windows = {} if text is None else {spec.text: await _windows(http, spec, text)}
    count = len(windows[spec.text]) if windows else spec.tokens // spec.window
    rng = np.random.default_rng(spec.seed)
    drawn = token_prompts(rng, count=count, length=spec.window, vocab=http.vocab)
    found = {}
    for name, ids in ({RANDOM: drawn} | windows).items():
        prompts = ids.tolist()
        routed: list[str] = []
        for start in range(0, len(prompts), MOST_PROMPTS):
            callbacks.on_stage(f"{name}: {start} of {len(prompts)} prompts")
            some = prompts[start : start + MOST_PROMPTS]
            routed += await request_routing(http.control, http.target.model, some, 1)
        if len(routed) != len(prompts):
            raise EndpointError(
                f"routed experts with {len(routed)} of {len(prompts)} answers: the server must "
                "return them with each"
            )
        found[name] = counts_by_answer(routed, experts)
    return found


async def _windows(http: HttpSession, spec: RoutingSpec, text: str) -> TokenIds:
    async with client_session(http.target) as connection:
        client = QualityClient(http.target, connection, 1)
        tokens = await client.tokens(text[: spec.tokens * CHARACTERS_PER_TOKEN])
    return windows_of(tokens, window=spec.window, limit=spec.tokens)


def routing_rows(measured: MeasuredRouting, spec: RoutingSpec, *, layers: bool) -> Iterator[Row]:
    """Yield a row for each kind of prompt, degree and placement: of all layers, then of each."""
    random = measured.by_kind[RANDOM]
    degrees = [degree for degree in spec.degrees if degree <= random.shape[-1]]
    for placed in itertools.product(degrees, spec.placements):
        for kind, counts in measured.by_kind.items():
            against = None if kind == RANDOM else random
            yield _row(measured, kind, "all", placed, counts, against)
            for layer in range(counts.shape[1] if layers else 0):
                one = slice(layer, layer + 1)
                base = None if against is None else against[:, one]
                yield _row(measured, kind, layer, placed, counts[:, one], base)


def _row(
    measured: MeasuredRouting,
    kind: str,
    layer: int | str,
    placed: Placed,
    counts: AnswerCounts,
    random: AnswerCounts | None,
) -> Row:
    degree, placement = placed
    total = counts.sum(axis=0)
    balance = balance_figures(total, None)
    row: dict[str, ColumnValue] = {
        "model": measured.setup.model,
        "technique": measured.setup.technique.name,
        "engine": measured.setup.engine,
        "provenance": measured.provenance,
        "prompts": kind,
        "layer": layer,
        "ep": degree,
        "placement": placement,
        "tokens": len(counts) * measured.window,
        **{name: balance[name] for name in SPREAD},
        "rank_max_over_mean": _busiest(total, placed),
        "prompt_rank_max_over_mean": float(max_over_mean(rank_tokens(counts, *placed)).mean()),
    }
    if random is not None:
        row |= _against(counts, random, placed)
    return row


SPREAD = ("expert_max_over_mean", "expert_gini", "dead_experts")


def _busiest(total: NDArray[np.int64], placed: Placed) -> float:
    """The busiest rank over the mean, in the mean of the layers: they wait for it one by one."""
    return float(max_over_mean(rank_tokens(total, *placed)).mean())


def _against(counts: AnswerCounts, random: AnswerCounts, placed: Placed) -> Row:
    """How much busier the busiest rank is than random ids say; 95 % by resampling prompts."""
    text, base = rank_tokens(counts, *placed), rank_tokens(random, *placed)
    ratio = _busiest(counts.sum(axis=0), placed) / _busiest(random.sum(axis=0), placed)
    if len(counts) < 2:
        return {"over_random": ratio}
    rng = np.random.default_rng(0)
    draws = _resampled(text, rng) / _resampled(base, rng)
    low, high = np.quantile(draws, (0.025, 0.975))
    return {"over_random": ratio, "low_over_random": float(low), "high_over_random": float(high)}


def _resampled(by_rank: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    prompts = len(by_rank)
    times = rng.multinomial(prompts, np.full(prompts, 1 / prompts), RESAMPLES)
    return np.asarray(max_over_mean(np.tensordot(times, by_rank, 1)).mean(axis=1))


def routing_file(measured: Sequence[MeasuredRouting], spec: RoutingSpec) -> RoutingFile:
    """Return what `estimate --routing` reads: one model's routing of the text."""
    (one,) = measured
    counts = one.by_kind[spec.text]
    text = f"{RANDOM} {spec.seed}" if spec.text == RANDOM else read_text(spec.text)
    return RoutingFile(
        model=one.setup.model,
        text=spec.text,
        text_sha256=hashlib.sha256(text.encode()).hexdigest(),
        tokens=len(counts) * one.window,
        top_k=one.top_k,
        expert_tokens=counts.sum(axis=0).tolist(),
    )
