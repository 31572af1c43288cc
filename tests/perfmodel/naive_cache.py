"""A prefix cache that is slow and plain: blocks in one list, found by all of their tokens."""

from dataclasses import dataclass, field

SIZE = 4

Request = tuple[list[int], list[int]]
"""The tokens of prompt and answer."""


@dataclass
class Block:
    tokens: tuple[int, ...] | None = None
    """All tokens up to this block's end, once it is full."""
    born: int = 0
    holders: int = 0


@dataclass
class Naive:
    """Serves requests step by step as vLLM's scheduler does, all of them queued at the start."""

    blocks: int
    budget: int
    slots: int
    requests: list[Request]
    hits: dict[int, int] = field(default_factory=dict)
    preemptions: int = 0

    def serve(self) -> "Naive":
        self.free = [Block() for _ in range(self.blocks)]
        self.every = list(self.free)
        self.clock = 0
        self.waiting, self.running = list(range(len(self.requests))), []
        self.done = [0] * len(self.requests)
        self.made = [0] * len(self.requests)
        self.held: list[list[Block]] = [[] for _ in self.requests]
        while self.waiting or self.running:
            self._step()
        return self

    def _tokens(self, request: int) -> list[int]:
        prompt, answer = self.requests[request]
        return prompt + answer[: self.made[request]]

    def _step(self) -> None:
        before, work = self.preemptions, []
        left = self._run(work)
        if self.preemptions == before:
            self._admit(work, left)
        for request, count in work:
            self.done[request] += count
            if self.done[request] == len(self._tokens(request)):
                self.made[request] += 1
        for request in list(self.running):
            if self.made[request] == len(self.requests[request][1]):
                self.running.remove(request)
                self._let_go(request)

    def _run(self, work: list[tuple[int, int]]) -> int:
        left, turn = self.budget, 0
        while turn < len(self.running) and left:
            request = self.running[turn]
            count = min(len(self._tokens(request)) - self.done[request], left)
            while request in self.running and not self._hold(request, self.done[request] + count):
                last = self.running.pop()
                self._let_go(last)
                self.done[last] = 0
                self.waiting.insert(0, last)
                self.preemptions += 1
            if request not in self.running:
                break
            work.append((request, count))
            left -= count
            turn += 1
        return left

    def _admit(self, work: list[tuple[int, int]], left: int) -> None:
        while self.waiting and left and len(self.running) < self.slots:
            request = self.waiting[0]
            found = self._found(request)
            needed = -(-len(self._tokens(request)) // SIZE) - len(found)
            if needed > len(self.free) - sum(block in self.free for block in found):
                break
            for block in found:
                block.holders += 1
                self.free = [each for each in self.free if each is not block]
            self.held[request] = list(found)
            self.done[request] = len(found) * SIZE
            self.hits.setdefault(request, len(found) * SIZE)
            count = min(len(self._tokens(request)) - self.done[request], left)
            assert self._hold(request, self.done[request] + count)
            self.running.append(self.waiting.pop(0))
            work.append((request, count))
            left -= count

    def _found(self, request: int) -> list[Block]:
        tokens, found = tuple(self._tokens(request)), []
        for end in range(SIZE, len(tokens), SIZE):
            alike = [block for block in self.every if block.tokens == tokens[:end]]
            if not alike:
                break
            found.append(min(alike, key=lambda block: block.born))
        return found

    def _hold(self, request: int, tokens: int) -> bool:
        more = -(-tokens // SIZE) - len(self.held[request])
        if more > len(self.free):
            return False
        for _ in range(more):
            block = self.free.pop(0)
            block.tokens, block.holders = None, 1
            self.held[request].append(block)
        known = tuple(self._tokens(request))
        for index, block in enumerate(self.held[request][: tokens // SIZE]):
            if block.tokens is None:
                self.clock += 1
                block.tokens, block.born = known[: (index + 1) * SIZE], self.clock
        return True

    def _let_go(self, request: int) -> None:
        gone = list(reversed(self.held[request]))
        self.held[request] = []
        for block in gone:
            block.holders -= 1
        gone = [block for block in gone if not block.holders]
        never_full = [block for block in gone if block.tokens is None]
        self.free = never_full + self.free + [block for block in gone if block.tokens is not None]
