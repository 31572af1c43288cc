"""From a model, GPUs and a load to a strategy: how sure, how derived, what to measure next."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.predict.evidence import (
    Evidence,
    EvidenceSource,
    analytic_evidence,
    asked_of,
    learned_evidence,
)
from analysis.predict.objective import SAME, ObjectiveName, per_throughput
from analysis.predict.options import layouts_for
from analysis.predict.predictor import (
    ANALYTIC_UNCERTAINTY,
    BETWEEN_LAYOUTS,
    Predictor,
    Uncertainty,
)
from analysis.predict.steady_state import Demand, SteadyStateEstimate, serving, steady_state
from catalog.errors import BadValue, Infeasible
from catalog.hardware import Gpu
from catalog.models import Model
from perfmodel.arrays import FloatArray, IntArray
from perfmodel.constants import DEFAULT, Constants
from perfmodel.known_error import NORMAL_90, TIE, error_bounds, error_note
from perfmodel.serving import ServerModel
from strategies.layout import Layout

DRAWS = 4000


@dataclass(frozen=True, slots=True)
class RecommendationRequest:
    """What is to be served, on what, under which load."""

    model: Model
    gpu: Gpu
    gpus: int
    demand: Demand
    layouts: tuple[Layout, ...] = ()
    """None named takes every division of the GPUs by tensor and expert parallelism."""
    objective: ObjectiveName = "throughput"
    constants: Constants | None = None


@dataclass(frozen=True, slots=True)
class Option:
    """One layout's expected figures, in the objective's unit; bounds are 90 %."""

    strategy: str
    value: float
    low: float | None
    """None, as `high`, where no error is known: of a calibration that was compared with nothing."""
    high: float | None
    throughput: float
    latency_bounds: Mapping[str, float | None]
    probability: float
    """Of being the best of the options."""
    regret: float
    """Expected share of the objective lost by taking this one."""
    gain: float
    """Expected improvement of the decision from measuring this one, as a share."""
    tied_with: tuple[str, ...]
    """Options that it is not told from."""
    source: EvidenceSource
    estimate: SteadyStateEstimate


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The options, best first, and how they were found."""

    request: RecommendationRequest
    options: tuple[Option, ...]
    refused: tuple[tuple[str, str], ...]
    """Layouts that cannot be, and why."""
    uncertainty: Uncertainty
    notes: tuple[str, ...]

    @property
    def next_runs(self) -> tuple[tuple[str, int], ...]:
        """Three runs (strategy, concurrency) whose results would change the decision most.

        At the load asked about first; then the two closest rivals at the loads beside it.
        """
        if len(self.options) < 2:
            return ()
        load = self.request.demand.max_concurrency
        here = [o for o in self.options if o.source != "measured"]
        ranked = sorted(here, key=lambda option: -option.gain)
        rivals = [option.strategy for option in self.options[:2]]
        beside = [(name, other) for other in (2 * load, max(1, load // 2)) for name in rivals]
        runs = [(option.strategy, load) for option in ranked] + beside
        return tuple(dict.fromkeys(runs))[:3]


def recommend(request: RecommendationRequest, predictor: Predictor | None = None) -> Recommendation:
    """Rank the layouts; raise Infeasible when none can carry the model."""
    if request.objective == "goodput" and predictor is None:
        way = "with a predictor fitted to goodput: the analytic model knows no latency limits"
        raise BadValue("objective", "goodput", way)
    servers, refused = _servers(request)
    if not servers:
        why = "; ".join(reason for _, reason in refused[:3])
        raise Infeasible(f"no layout of {request.gpus} {request.gpu.name} works: {why}")
    estimates = [steady_state(on, request.demand) for on in servers]
    scale = _scales(request, servers)
    analytic = np.log([each.output_throughput for each in estimates]) + np.log(scale)
    found = list(zip(servers, estimates, strict=True))
    evidence = (
        learned_evidence(found, analytic, request.demand, predictor)
        if predictor
        else analytic_evidence(found, analytic, request.demand)
    )
    logs = np.array([each.log for each in evidence])
    spread = np.array([each.option_sd for each in evidence])
    chance, regret = _odds(logs, spread)
    gain = _gains(logs, spread)
    order = np.argsort(-logs, kind="stable")
    options = tuple(
        Option(
            strategy=servers[i].step_model.layout.name,
            value=float(np.exp(logs[i])),
            low=_bound(evidence[i], -1),
            high=_bound(evidence[i], 1),
            throughput=_throughput(request, float(np.exp(logs[i]) / scale[i]), estimates[i]),
            latency_bounds=_latency_bounds(servers[i], estimates[i], request.demand),
            probability=float(chance[i]),
            regret=float(regret[i]),
            gain=float(gain[i]),
            tied_with=_tied_with(int(i), order, evidence, servers),
            source=evidence[i].source,
            estimate=estimates[i],
        )
        for i in order
    )
    uncertainty = predictor.about.uncertainty if predictor else ANALYTIC_UNCERTAINTY
    notes = (*_notes(request, predictor), *_outside(evidence))
    return Recommendation(request, options, tuple(refused), uncertainty, notes)


def _bound(evidence: Evidence, sign: int) -> float | None:
    if evidence.level_sd is None:
        return None
    return math.exp(evidence.log + sign * NORMAL_90 * evidence.level_sd)


def _latency_bounds(
    on: ServerModel, found: SteadyStateEstimate, demand: Demand
) -> dict[str, float | None]:
    """`low_…` and `high_…` of the estimated TTFT and TPOT, in ms."""
    step = on.step_model
    figures = {"mean_ttft_ms": 1e3 * found.ttft_s, "mean_tpot_ms": found.tpot_ms}
    asked = asked_of(on, demand)
    bounds = error_bounds(
        step.constants.name, step.layout, step.gpu, figures, asked, fitted=step.constants.error
    )
    return {name: bound for name, bound in bounds.items() if "throughput" not in name}


def _tied_with(
    own: int, order: IntArray, evidence: Sequence[Evidence], servers: Sequence[ServerModel]
) -> tuple[str, ...]:
    """The options that this one is not told from, the best first."""
    return tuple(
        servers[i].step_model.layout.name
        for i in order
        if i != own and _tied(evidence[own], evidence[i])
    )


def _tied(one: Evidence, other: Evidence) -> bool:
    """Measured ones by their runs' own variation, others by what ratios are known to be off."""
    if one.source == other.source == "measured":
        limit = NORMAL_90 * math.hypot(one.option_sd, other.option_sd)
    else:
        limit = math.log(TIE)
    return abs(one.log - other.log) < limit


def _throughput(request: RecommendationRequest, value: float, found: SteadyStateEstimate) -> float:
    """Output tokens a second behind an objective; goodput leaves it to the analytic model."""
    return found.output_throughput if request.objective == "goodput" else value


def _servers(request: RecommendationRequest) -> tuple[list[ServerModel], list[tuple[str, str]]]:
    servers, refused = [], []
    longest = request.demand.input_len + request.demand.output_len
    for layout in request.layouts or _candidates(request):
        try:
            servers.append(
                serving(
                    request.model,
                    layout,
                    request.gpu,
                    longest=longest,
                    constants=request.constants,
                )
            )
        except Infeasible as error:
            refused.append((layout.name, str(error)))
    return servers, refused


def _candidates(request: RecommendationRequest) -> tuple[Layout, ...]:
    """All layouts of the GPUs; of fewer as well where the objective is per GPU or per price."""
    if "num_gpus" in SAME[request.objective]:
        return layouts_for(request.gpus, per_node=request.gpu.per_node)
    counts = {2**power for power in range(request.gpus.bit_length())} | {request.gpus}
    fewer = sorted(count for count in counts if count <= request.gpus)
    return tuple(
        layout for count in fewer for layout in layouts_for(count, per_node=request.gpu.per_node)
    )


def _scales(request: RecommendationRequest, servers: Sequence[ServerModel]) -> FloatArray:
    """The objective for each output token a second."""
    requests = 1.0 / request.demand.output_len if request.objective == "goodput" else 1.0
    layouts = [on.step_model.layout for on in servers]
    return np.array(
        [requests * per_throughput(request.objective, each, request.gpu) for each in layouts]
    )


def _odds(logs: FloatArray, spread: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Chance of being best and expected share lost, under normal errors of the logarithms."""
    draws = logs + spread * np.random.default_rng(0).standard_normal((DRAWS, len(logs)))
    best = draws.max(axis=1, keepdims=True)
    chance = np.bincount(draws.argmax(axis=1), minlength=len(logs)) / DRAWS
    regret: FloatArray = (1.0 - np.exp(draws - best)).mean(axis=0)
    return chance, regret


def _gains(logs: FloatArray, spread: FloatArray) -> FloatArray:
    """Expected improvement of the decision from measuring one option: s (φ(z) − z Φ(−z)).

    z is its distance to the best of the others over its own spread s.
    """
    gains = np.zeros(len(logs))
    for number in range(len(logs)):
        others = np.delete(logs, number)
        if spread[number] > 0 and len(others):
            z = abs(float(logs[number] - others.max())) / float(spread[number])
            density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
            gains[number] = spread[number] * (density - z * 0.5 * math.erfc(z / math.sqrt(2)))
    return gains


def _notes(request: RecommendationRequest, predictor: Predictor | None) -> tuple[str, ...]:
    if predictor is None:
        constants = request.constants or DEFAULT
        return (f"no predictor given: the analytic model alone; chances rest on {BETWEEN_LAYOUTS}",
                error_note(constants.name, constants.error))  # fmt: skip
    about = predictor.about
    fitted = ", ".join(f"{count} {kind}" for kind, count in about.options.items())
    notes = [
        f"predictor fitted to {fitted} options; uncertainty rests on {about.uncertainty.basis}"
    ]
    if about.trust < 1 and all(row.model != request.model.name for row in about.measured):
        notes.append(f"{about.trust:.0%} of what it learned counts for a model not measured")
    if request.gpu.name not in about.hardware:
        notes.append(f"{request.gpu.name} is no GPU the predictor was fitted to: wider bounds")
    return tuple(notes)


def _outside(evidence: Sequence[Evidence]) -> list[str]:
    """One note for each thing asked that nothing was learned about, however many options it has."""
    told = [text for each in evidence for texts in each.outside.values() for text in texts]
    return [
        f"outside of what was learned, so bounds are wider: {text}" for text in dict.fromkeys(told)
    ]
