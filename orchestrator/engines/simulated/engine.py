"""The simulated engine in virtual time: planning, dispatch, metrics and records as ever, no socket.

Its numbers come from a model of the GPU and say so: provenance `simulated` in every row.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import ArrayLike

from catalog.models import Model
from orchestrator.engine import Callbacks, LaunchContext, Measurement, Session
from orchestrator.engines.checks import missing_link
from orchestrator.engines.simulated.options import (
    assumed_of,
    caching,
    held_model,
    spread_unpriced,
)
from orchestrator.experiment.cells import Run
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.measure.traffic import dispatcher_of, shared_figures, unwritten
from orchestrator.results.record import Provenance
from perfmodel.batching import BatchLimits
from perfmodel.noise import Noise, launch_factor
from perfmodel.serving import ServerModel, server
from perfmodel.simulate import Hashes, Simulated, simulate
from servers.simulated.arguments import ServerArguments, server_arguments
from workloads.load.traffic import Requests, Traffic
from workloads.transcript import RequestRow

Labels = Callable[[int], Mapping[str, Any]]


class SimulatedEngine:
    """Serves a group in virtual time."""

    @contextlib.asynccontextmanager
    async def open(
        self, group: ServerGroup, context: LaunchContext, _: Callbacks
    ) -> AsyncIterator[Session]:
        sigma, seed = context.experiment.noise, context.experiment.seed
        launch = launch_factor(_rng(seed, group.group_id), sigma)
        yield SimulatedSession(simulated_server(group, context.model), sigma, seed, launch)


def _rng(seed: int, name: str) -> np.random.Generator:
    """Return the generator of one name: the same on every resume."""
    return np.random.default_rng([seed, crc32(name.encode())])


def simulated_server(group: ServerGroup, model: Model) -> ServerModel:
    """Build the model of a group's server, with room for its longest request.

    A technique counts by the bytes of its weights and cache, and by the arithmetic of its type;
    arguments by what they set in scheduler, memory and types.
    """
    return _server(group, model, server_arguments(group.setup.server_args))


def _server(group: ServerGroup, model: Model, requested: ServerArguments) -> ServerModel:
    setup = group.setup
    assert setup.layout is not None
    assert setup.gpu is not None
    workloads = [run.cell.workload for run in group.runs]
    longest = max(workload.longest_tokens for workload in workloads)
    return server(
        held_model(setup, model, requested),
        setup.layout,
        setup.gpu,
        longest=requested.longest(longest),
        setup=assumed_of(setup, requested, caching(workloads)),
    )


def serve(run: Run, on: ServerModel, noise: Noise | None = None) -> Simulated:
    """Send one run's requests to a simulated server that is empty."""
    return _serve(unwritten(run), on, noise)


def _serve(traffic: Traffic, on: ServerModel, noise: Noise | None) -> Simulated:
    requests = traffic.requests
    lengths = list(zip(requests.input_lens.tolist(), requests.output_lens.tolist(), strict=True))
    hashes = _hashes(requests, on.limits) if on.limits.prefix_caching else None
    return simulate(
        dispatcher_of(traffic), lengths, on.step_model, limits=on.limits, noise=noise, hashes=hashes
    )


def _hashes(requests: Requests, limits: BatchLimits) -> Hashes | None:
    """Say what each request's blocks hold; None where every prompt is its own.

    An answer is nobody else's: a later turn holds drawn tokens in the place of what was answered.
    """
    content, size = requests.content, limits.block_tokens
    if content is None:
        return None
    longest = (requests.input_lens + requests.output_lens - 1).tolist()

    def of(request: int) -> Sequence[Hashable]:
        prompt = content.blocks(request, size)
        answer = ((request, block) for block in range(len(prompt), longest[request] // size))
        return (*prompt, *answer)

    return of


def expected_seconds(group: ServerGroup, runs: Iterable[Run], model: Model) -> list[float | None]:
    """Estimate how long a real server would be measured in each run.

    None where no GPU is named, or one of which too little is known, for a technique that the model
    does not price, and for a model that is not counted. Of a real server's own arguments and knobs
    none is looked at: this is about how long to wait.
    """
    setup = group.setup
    priced = setup.gpu is not None and setup.technique.possible_on("simulated")
    if setup.hardware == "CPU" or not priced or missing_link(setup):
        return [None for _ in runs]
    if not held_model(setup, model, ServerArguments()).sized:
        return [None for _ in runs]
    if spread_unpriced(setup, model, max(run.cell.workload.longest_tokens for run in group.runs)):
        return [None for _ in runs]
    on = _server(group, model, ServerArguments())
    return [float(serve(run, on).done_s.max()) for run in runs]


@dataclass(frozen=True, slots=True)
class SimulatedSession:
    """A simulated server; every run on it begins with an empty cache and empty queues."""

    server: ServerModel
    noise: float = 0.0
    seed: int = 0
    launch: float = 1.0
    """Factor on this launch's step times; 1 without noise."""

    @property
    def provenance(self) -> Provenance:
        return "simulated"

    @property
    def gpu_type(self) -> str:
        return self.server.step_model.gpu.name

    @property
    def details(self) -> Mapping[str, Any]:
        limits = self.server.limits
        return {
            "kv_tokens_capacity": self.server.kv_tokens_capacity,
            "max_num_seqs": limits.max_num_seqs,
            "max_num_batched_tokens": limits.max_num_batched_tokens,
            "block_size": limits.block_tokens,
            "prefix_caching": limits.prefix_caching,
            "calibration": self.server.step_model.constants.name,
            "assumptions": list(self.server.memory.assumptions),
            "noise": self.noise,
            "launch_factor": self.launch,
        }

    async def measure(self, run: Run, callbacks: Callbacks) -> Measurement:
        traffic = unwritten(run)
        result = _serve(traffic, self.server, self._noise(run))
        cached = self.server.limits.prefix_caching
        for row in rows_of_simulation(result, traffic.requests.input_lens, traffic.labels):
            tokens = result.cached_tokens[row.request] if cached else None
            callbacks.on_row(replace(row, cached_tokens=tokens) if cached else row)
        return Measurement(
            figures={
                **(shared_figures(traffic) if cached else {}),
                "peak_kv_usage": result.peak_kv_usage,
                "preemptions": result.preemptions,
                **self._prefix_figures(result),
                **{f"{phase}_share": share for phase, share in _shares(result).items()},
            }
        )

    def _prefix_figures(self, result: Simulated) -> Mapping[str, float]:
        if not self.server.limits.prefix_caching:
            return {}
        return {
            "server_prefix_cache_queries": result.prefix_queries,
            "server_prefix_cache_hits": result.prefix_hits,
        }

    def _noise(self, run: Run) -> Noise | None:
        if not self.noise:
            return None
        return Noise(_rng(self.seed, run.run_id), step_sigma=self.noise, launch=self.launch)


def rows_of_simulation(
    result: Simulated, input_tokens: ArrayLike, labels: Labels | None = None
) -> list[RequestRow]:
    """Return the requests in the order in which they ended, as a real client reports them.

    `input_tokens` is of every request, or one number for all; `labels` says what was asked of one.
    """
    order = np.argsort(result.done_s, kind="stable")
    lengths = np.broadcast_to(input_tokens, len(order))
    return [
        _row(result, request, int(lengths[request]), labels(request) if labels else {})
        for request in order.tolist()
    ]


def _row(
    result: Simulated, request: int, input_tokens: int, labels: Mapping[str, Any]
) -> RequestRow:
    times_s = result.token_times_s[request]
    return RequestRow(
        request=request,
        due_s=float(result.due_s[request]),
        sent_s=float(result.sent_s[request]),
        first_token_s=float(times_s[0]),
        done_s=float(times_s[-1]),
        input_tokens=input_tokens,
        output_tokens=len(times_s),
        token_times_s=times_s,
        reads=len(times_s),
        events=len(times_s),
        finish_reason="length",
        **labels,
    )


def _shares(result: Simulated) -> dict[str, float]:
    """Share of the servers' busy time that each bound took."""
    total_s = sum(result.seconds_by_bound.values())
    return (
        {name: each / total_s for name, each in result.seconds_by_bound.items()} if total_s else {}
    )
