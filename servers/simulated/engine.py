"""Drives the continuous-batching state machine by the clock, and hands out tokens as they come."""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from perfmodel.balance import Balancer
from perfmodel.batching import Batcher
from perfmodel.sequence import Sequence as BatchedRequest
from perfmodel.serving import ServerModel
from perfmodel.virtual import ReplicaGroup
from servers.metrics import Metrics
from servers.simulated.faults import Faults


@dataclass(slots=True)
class RunningRequest:
    """A request in the engine."""

    number: int
    sequence: BatchedRequest
    on_tokens: Callable[[int], None]
    """Called with the number of new tokens."""
    arrived_s: float
    rank: int
    times_s: list[float] = field(default_factory=list)
    held: int = 0
    """Tokens computed before the stream begins."""
    begun: bool = False
    finished: bool = False


class EngineCore:
    """The replicas of one simulated server.

    The schedule of steps is exact: a step begins when the one before was to end, so that what the
    event loop is late by does not add up.
    """

    def __init__(self, server: ServerModel, metrics: Metrics, faults: Faults) -> None:
        self.limits = server.limits
        layout = server.step_model.layout
        groups, each = (1, layout.dp) if server.step_model.lockstep else (layout.dp, 1)
        self._groups = [
            ReplicaGroup(
                server.step_model, server.limits, replicas=each, noise=None, fast_forward=False
            )
            for _ in range(groups)
        ]
        self.replicas = [(group, batcher) for group in self._groups for batcher in group.batchers]
        self._balancer = Balancer()
        self._first_token_s = server.step_model.constants.first_token_s
        self.metrics, self._faults = metrics, faults
        self._live: dict[int, RunningRequest] = {}
        self._next = 0
        self._tokens = 0
        self._clock = asyncio.get_running_loop().time  # what timers are set by, good to 1 ms
        self.died = asyncio.Event()

    def add(
        self,
        prompt_tokens: int,
        output_tokens: int,
        on_tokens: Callable[[int], None],
        *,
        arrived_s: float,
        hashes: Sequence[Hashable] = (),
    ) -> RunningRequest:
        """Queue a request on the replica with the fewest; raise Infeasible if it can never fit.

        `arrived_s` is on `perf_counter`, which the metrics are measured by; `hashes` are those of
        its full blocks, where they are shared.
        """
        rank = self._balancer.choose(
            [
                None if rank == self._faults.dead_rank else batcher.num_unfinished
                for rank, (_, batcher) in enumerate(self.replicas)
            ]
        )
        request, self._next = self._next, self._next + 1
        group, batcher = self.replicas[rank]
        sequence = batcher.add(
            request, prompt_tokens=prompt_tokens, output_tokens=output_tokens, hashes=hashes
        )
        live = RunningRequest(request, sequence, on_tokens, arrived_s, rank)
        self._live[request] = live
        self.metrics.arrived(rank, prompt_tokens)
        if group.run is None:
            self._start(group, self._clock())
        return live

    def abort(self, live: RunningRequest) -> None:
        """Forget a request whose client has gone; one that has ended is no error."""
        if self._live.pop(live.number, None) is not None:
            self._batcher(live.rank).abort(live.number)
            self.metrics.finished(live.rank, "abort", live.arrived_s, live.times_s)

    def _batcher(self, rank: int) -> Batcher:
        return self.replicas[rank][1]

    @property
    def _stuck(self) -> bool:
        after = self._faults.hang_after_tokens
        return self._faults.never_ready or (after is not None and self._tokens >= after)

    def _start(self, group: ReplicaGroup, now_s: float) -> None:
        if self._stuck:
            return
        group.start(now_s)
        if group.run is not None:
            ends_s = now_s + (group.ends_s - now_s) * self._faults.slow_factor
            asyncio.get_running_loop().call_at(ends_s, self._finish, group, ends_s)

    def _finish(self, group: ReplicaGroup, ended_s: float) -> None:
        now_s = perf_counter()
        for request, finished in group.finish():
            live = self._live.get(request)
            if live is None:
                continue
            self._tokens += 1
            live.finished = finished
            if live.begun:
                self._stream(request, live, 1, now_s)
            else:
                self._hold(request, live)
        fatal = self._faults.die_after_tokens
        if fatal is not None and self._tokens >= fatal:
            self.died.set()
        self._start(group, ended_s)

    def _hold(self, request: int, live: RunningRequest) -> None:
        """Keep a stream's first tokens for as long as its beginning takes by the calibration."""
        live.held += 1
        if self._first_token_s == 0:
            self._begin(request)
        elif live.held == 1:
            asyncio.get_running_loop().call_later(self._first_token_s, self._begin, request)

    def _begin(self, request: int) -> None:
        live = self._live.get(request)
        if live is not None:
            live.begun = True
            self._stream(request, live, live.held, perf_counter())

    def _stream(self, request: int, live: RunningRequest, tokens: int, now_s: float) -> None:
        for _ in range(tokens):
            live.times_s.append(now_s)
            live.on_tokens(1)
        if live.finished:
            del self._live[request]
            self.metrics.finished(live.rank, "length", live.arrived_s, live.times_s)
