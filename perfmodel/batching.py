"""Continuous batching as a state machine that knows no clock (vLLM V1's scheduler).

A step takes tokens up to a budget: first one token, or the next chunk of its prompt, for each
running sequence in order of arrival, then waiting ones while budget, sequence slots and cache
blocks last. When a running sequence finds no block, the last one to have started loses all of its
own, waits at the head of the queue and is computed anew (preemption by recomputation).
"""

from collections import deque
from collections.abc import Hashable
from collections.abc import Sequence as Items
from dataclasses import dataclass

import msgspec

from catalog.errors import BadValue, Infeasible
from perfmodel.blocks import BlockPool
from perfmodel.count import count_load
from perfmodel.load import StepLoad
from perfmodel.prefix_cache import PrefixCache
from perfmodel.sequence import Sequence


class BatchLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The scheduler's limits; the defaults are those of vLLM's server, except `kv_blocks`."""

    kv_blocks: int
    block_tokens: int = 16
    max_num_batched_tokens: int = 2048
    max_num_seqs: int = 256
    prefix_cached: bool = False
    """Every prompt has been seen before, so that only its last block is computed."""
    prefix_caching: bool = False
    """Requests share the full blocks of their common beginnings, as vLLM's do."""
    window: int | None = None
    """Tokens a windowed attention layer looks back, counted apart in each step's load."""

    def __post_init__(self) -> None:
        for name in ("kv_blocks", "block_tokens", "max_num_batched_tokens", "max_num_seqs"):
            if getattr(self, name) < 1:
                raise BadValue(name, getattr(self, name), "1 or more")
        if self.prefix_cached and self.prefix_caching:
            raise BadValue("prefix_cached", True, "one of prefix_cached and prefix_caching")
        if self.max_num_seqs > self.max_num_batched_tokens:
            allowed = f"at most max_num_batched_tokens = {self.max_num_batched_tokens}"
            raise BadValue("max_num_seqs", self.max_num_seqs, allowed)


@dataclass(frozen=True, slots=True)
class Step:
    """What will be computed: each sequence with its number of new tokens, and their sums."""

    work: tuple[tuple[Sequence, int], ...]
    load: StepLoad
    preempted: int = 0


class Batcher:
    """Add requests, then repeat: `plan` a step, let time pass, `commit` it."""

    def __init__(self, limits: BatchLimits) -> None:
        self.limits = limits
        self.preemptions = 0
        self.prefix_queries = self.prefix_hits = 0
        """Tokens looked up in the prefix cache and found, of each request when it first began."""
        pool = PrefixCache if limits.prefix_caching else BlockPool
        self._pool: BlockPool = pool(limits.kv_blocks, limits.block_tokens)
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self._by_request: dict[int, Sequence] = {}

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_unfinished(self) -> int:
        return len(self._by_request)

    @property
    def num_unanswered(self) -> int:
        """Requests that have no token yet."""
        return sum(not sequence.produced for sequence in self._by_request.values())

    @property
    def kv_usage(self) -> float:
        return self._pool.used / self._pool.total

    @property
    def peak_kv_usage(self) -> float:
        return self._pool.peak / self._pool.total

    def add(
        self,
        request: int,
        *,
        prompt_tokens: int,
        output_tokens: int,
        cached_tokens: int = 0,
        hashes: Items[Hashable] = (),
    ) -> Sequence:
        """Queue a request and return it; raise Infeasible if it could never fit the cache alone.

        `hashes` are those of its full blocks, the answer's after the prompt's (`block_hashes`).
        """
        if request in self._by_request:
            raise ValueError(f"request {request} is already here")
        if prompt_tokens < 1 or output_tokens < 1:
            raise BadValue("tokens of a request", (prompt_tokens, output_tokens), "1 or more each")
        sequence = Sequence(request, prompt_tokens, output_tokens, hashes)
        sequence.cached_tokens = self._whole_blocks(prompt_tokens, cached_tokens)
        if self._pool.needed(sequence.longest) > self._pool.total:
            room = self._pool.total * self._pool.block_tokens
            raise Infeasible(f"a request of {sequence.longest} tokens: the KV cache holds {room}")
        self._by_request[request] = sequence
        self._waiting.append(sequence)
        return sequence

    def abort(self, request: int) -> None:
        """Forget a request and free its blocks; an unknown or finished one is no error."""
        sequence = self._by_request.pop(request, None)
        if sequence is None:
            return
        (self._running if sequence in self._running else self._waiting).remove(sequence)
        self._drop(sequence)

    def plan(self) -> Step | None:
        """Choose the next step's work and take its blocks; None when there is nothing to do."""
        if not self._by_request:
            return None
        before = self.preemptions
        work, budget = self._plan_running(self.limits.max_num_batched_tokens)
        if self.preemptions == before:
            self._plan_waiting(work, budget)
        if not work:
            return None
        load = count_load(work, self.limits.window)
        return Step(tuple(work), load, self.preemptions - before)

    def commit(self, step: Step, steps: int = 1) -> list[tuple[int, bool]]:
        """Take a step as done; return each request that got a token, and whether it is finished.

        `steps` > 1 repeats a decode step whose composition stays the same, as `steady_steps` says;
        each request returned then got that many tokens.
        """
        out = []
        for sequence, tokens in step.work:
            if not sequence.live:
                continue
            sequence.computed += tokens + steps - 1
            if sequence.computed < sequence.known + steps - 1:
                continue
            sequence.produced += steps
            out.append((sequence.request, sequence.finished))
        if steps > 1:
            self._pool.advance([sequence for sequence, _ in step.work if sequence.live], steps)
        if any(finished for _, finished in out):
            self._retire()
        return out

    def steady_steps(self, step: Step) -> int:
        """Return how often the planned step can repeat with each context one longer every time.

        Up to and including the step in which a sequence ends, and only while no block runs out.
        """
        sequences = [sequence for sequence, _ in step.work]
        if step.load.prefill_tokens or step.preempted or len(sequences) < len(self._running):
            return 1
        slots = len(self._running) < self.limits.max_num_seqs
        if self._waiting and slots and self._pool.may_find_more(self._waiting[0], sequences):
            return 1
        most = min(sequence.remaining for sequence in sequences)
        window = self.limits.window
        if window is not None:
            gaps = [window - each.computed for each in sequences if each.computed + 1 < window]
            most = min([most, *gaps])
        return self._pool.steps_ahead(sequences, most) if most > 1 else 1

    def _plan_running(self, budget: int) -> tuple[list[tuple[Sequence, int]], int]:
        """Return the running sequences' part of the step, and what it leaves of the budget."""
        work: list[tuple[Sequence, int]] = []
        index = 0
        while index < len(self._running) and budget > 0:
            sequence = self._running[index]
            tokens = min(sequence.known - sequence.computed, budget)
            reach = sequence.computed + tokens
            if not self._pool.grow(sequence, reach) and not self._make_room(sequence, reach):
                break
            work.append((sequence, tokens))
            budget -= tokens
            index += 1
        return work, budget

    def _make_room(self, sequence: Sequence, tokens: int) -> bool:
        """Preempt from the end until the sequence has its blocks; False if it was itself last."""
        while not self._pool.grow(sequence, tokens):
            last = self._running.pop()
            self._pool.release(last)
            last.computed, last.preempted = 0, True
            self._waiting.appendleft(last)
            self.preemptions += 1
            if last is sequence:
                return False
        return True

    def _plan_waiting(self, work: list[tuple[Sequence, int]], budget: int) -> None:
        while self._waiting and budget > 0 and len(self._running) < self.limits.max_num_seqs:
            sequence = self._waiting[0]
            found = self._pool.find(sequence)
            tokens = min(sequence.known - found, budget)
            if not self._pool.admit(sequence, found + tokens):
                return
            self._look_up(sequence, found)
            self._running.append(self._waiting.popleft())
            work.append((sequence, tokens))
            budget -= tokens

    def _look_up(self, sequence: Sequence, found: int) -> None:
        """Begin after what was found; vLLM counts a request that was preempted only once."""
        sequence.computed = found
        if self.limits.prefix_caching and not sequence.preempted:
            sequence.cached_tokens = found
            self.prefix_queries += sequence.known
            self.prefix_hits += found

    def _whole_blocks(self, prompt_tokens: int, cached_tokens: int) -> int:
        """A prefix cache holds whole blocks, and the last prompt token is always computed."""
        hit = prompt_tokens if self.limits.prefix_cached else min(cached_tokens, prompt_tokens)
        size = self.limits.block_tokens
        return min(hit, prompt_tokens - 1) // size * size

    def _retire(self) -> None:
        """Let go of the sequences that have all their tokens."""
        for sequence in [each for each in self._running if each.finished]:
            del self._by_request[sequence.request]
            self._drop(sequence)
        self._running = [sequence for sequence in self._running if sequence.live]

    def _drop(self, sequence: Sequence) -> None:
        self._pool.release(sequence)
        sequence.live = False
