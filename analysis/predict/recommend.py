"""From a model, GPUs and a load to a strategy: how sure, how derived, what to measure next."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.predict.features import features, with_rivals
from analysis.predict.objective import SAME, Objective, per_throughput
from analysis.predict.options import layouts_for
from analysis.predict.outlook import Demand, Outlook, outlook, serving
from analysis.predict.predictor import UNPROVED, Doubt, Known, Predictor
from catalog.errors import BadValue, Infeasible
from catalog.hardware import Gpu
from catalog.models import Model
from perfmodel.arrays import FloatArray
from perfmodel.constants import Constants
from perfmodel.serving import Server
from strategies.layout import Layout

Source = Literal["measured", "interpolated", "predicted", "analytic"]
NORMAL_95 = 1.959963984540054
DRAWS = 4000


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be served, on what, under which load."""

    model: Model
    gpu: Gpu
    gpus: int
    demand: Demand
    layouts: tuple[Layout, ...] = ()
    """None named takes every division of the GPUs by tensor and expert parallelism."""
    objective: Objective = "throughput"
    constants: Constants | None = None


@dataclass(frozen=True, slots=True)
class Option:
    """One layout's expected figures, in the objective's unit; bounds are 95 %."""

    strategy: str
    value: float
    low: float
    high: float
    throughput: float
    probability: float
    """Of being the best of the options."""
    regret: float
    """Expected share of the objective lost by taking this one."""
    gain: float
    """Expected improvement of the decision from measuring this one, as a share."""
    source: Source
    outlook: Outlook


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The options, best first, and how they were found."""

    question: Question
    options: tuple[Option, ...]
    refused: tuple[tuple[str, str], ...]
    """Layouts that cannot be, and why."""
    doubt: Doubt
    notes: tuple[str, ...]

    @property
    def next_runs(self) -> tuple[tuple[str, int], ...]:
        """Three runs (strategy, concurrency) whose results would change the decision most.

        At the load asked about first; then the two closest rivals at the loads beside it.
        """
        if len(self.options) < 2:
            return ()
        load = self.question.demand.max_concurrency
        here = [o for o in self.options if o.source != "measured"]
        ranked = sorted(here, key=lambda option: -option.gain)
        rivals = [option.strategy for option in self.options[:2]]
        beside = [(name, other) for other in (2 * load, max(1, load // 2)) for name in rivals]
        runs = [(option.strategy, load) for option in ranked] + beside
        return tuple(dict.fromkeys(runs))[:3]


def recommend(question: Question, predictor: Predictor | None = None) -> Recommendation:
    """Rank the layouts; raise Infeasible when none can carry the model."""
    if question.objective == "goodput" and predictor is None:
        way = "with a predictor fitted to goodput: the analytic model knows no latency limits"
        raise BadValue("objective", "goodput", way)
    servers, refused = _servers(question)
    if not servers:
        why = "; ".join(reason for _, reason in refused[:3])
        raise Infeasible(f"no layout of {question.gpus} {question.gpu.name} works: {why}")
    outlooks = [outlook(on, question.demand) for on in servers]
    scale = _scales(question, servers)
    analytic = np.log([each.output_throughput for each in outlooks]) + np.log(scale)
    logs, sources = _values(question, servers, outlooks, analytic, predictor)
    doubt = predictor.about.doubt if predictor else UNPROVED
    spread = np.where(np.array(sources) == "measured", 0.0, doubt.option_sd)
    chance, regret = _odds(logs, spread)
    gain = _gains(logs, spread)
    order = np.argsort(-logs, kind="stable")
    level = np.where(np.array(sources) == "measured", 0.0, doubt.level_sd * NORMAL_95)
    options = tuple(
        Option(
            strategy=servers[i].step_model.layout.name,
            value=float(np.exp(logs[i])),
            low=float(np.exp(logs[i] - level[i])),
            high=float(np.exp(logs[i] + level[i])),
            throughput=_throughput(question, float(np.exp(logs[i]) / scale[i]), outlooks[i]),
            probability=float(chance[i]),
            regret=float(regret[i]),
            gain=float(gain[i]),
            source=sources[i],
            outlook=outlooks[i],
        )
        for i in order
    )
    notes = _notes(question, predictor)
    return Recommendation(question, options, tuple(refused), doubt, notes)


def _throughput(question: Question, value: float, found: Outlook) -> float:
    """Output tokens a second behind an objective; goodput leaves it to the analytic model."""
    return found.output_throughput if question.objective == "goodput" else value


def _servers(question: Question) -> tuple[list[Server], list[tuple[str, str]]]:
    servers, refused = [], []
    longest = question.demand.input_len + question.demand.output_len
    for layout in question.layouts or _candidates(question):
        try:
            servers.append(
                serving(
                    question.model,
                    layout,
                    question.gpu,
                    longest=longest,
                    constants=question.constants,
                )
            )
        except Infeasible as error:
            refused.append((layout.name, str(error)))
    return servers, refused


def _candidates(question: Question) -> tuple[Layout, ...]:
    """All layouts of the GPUs; of fewer as well where the objective is per GPU or per price."""
    if "num_gpus" in SAME[question.objective]:
        return layouts_for(question.gpus)
    counts = {2**power for power in range(question.gpus.bit_length())} | {question.gpus}
    fewer = sorted(count for count in counts if count <= question.gpus)
    return tuple(layout for count in fewer for layout in layouts_for(count))


def _scales(question: Question, servers: Sequence[Server]) -> FloatArray:
    """The objective for each output token a second."""
    requests = 1.0 / question.demand.output_len if question.objective == "goodput" else 1.0
    layouts = [on.step_model.layout for on in servers]
    return np.array(
        [requests * per_throughput(question.objective, each, question.gpu) for each in layouts]
    )


def _values(
    question: Question,
    servers: Sequence[Server],
    outlooks: Sequence[Outlook],
    analytic: FloatArray,
    predictor: Predictor | None,
) -> tuple[FloatArray, list[Source]]:
    """Log value and its source for each option, the best evidence there is."""
    if predictor is None:
        return analytic, ["analytic"] * len(servers)
    rows = [features(on, question.demand, o) for on, o in zip(servers, outlooks, strict=True)]
    names = list(rows[0])
    matrix = np.array([[row[name] for name in names] for row in rows])
    matrix = with_rivals(matrix, names, np.zeros(len(rows), dtype=np.int64))
    logs = predictor.log_values(matrix, analytic, model=question.model.name)
    sources: list[Source] = ["predicted"] * len(servers)
    for number, on in enumerate(servers):
        found = _measured(question, on.step_model.layout, predictor.about.measured)
        if found is not None:
            logs[number], sources[number] = found
    return logs, sources


def _measured(
    question: Question, layout: Layout, known: Sequence[Known]
) -> tuple[float, Source] | None:
    """The measured log value at this load, or between two loads; None where there is neither."""
    demand = question.demand
    traffic = (question.model.name, question.gpu.name, layout.name,
               demand.input_len, demand.output_len)  # fmt: skip
    same = sorted(
        (row.max_concurrency, math.log(row.value))
        for row in known
        if (row.model, row.gpu_type, row.strategy, row.input_len, row.output_len) == traffic
    )
    loads = [load for load, _ in same]
    if demand.max_concurrency in loads:
        return same[loads.index(demand.max_concurrency)][1], "measured"
    if not loads or not loads[0] < demand.max_concurrency < loads[-1]:
        return None
    at = np.interp(math.log(demand.max_concurrency), np.log(loads), [value for _, value in same])
    return float(at), "interpolated"


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


def _notes(question: Question, predictor: Predictor | None) -> tuple[str, ...]:
    if predictor is None:
        return ("no predictor given: the analytic model alone; its doubt rests on "
                + UNPROVED.basis,)  # fmt: skip
    about = predictor.about
    fitted = ", ".join(f"{count} {kind}" for kind, count in about.options.items())
    said = [f"predictor fitted to {fitted} options; doubt rests on {about.doubt.basis}"]
    if about.trust < 1 and all(row.model != question.model.name for row in about.measured):
        said.append(f"{about.trust:.0%} of what it learned counts for a model not measured")
    if question.gpu.name not in about.hardware:
        said.append(f"{question.gpu.name} is no GPU the predictor was fitted to")
    return tuple(said)
