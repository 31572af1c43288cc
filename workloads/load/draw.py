"""From a workload to a run's requests: all lengths, shares and turns drawn before anything is sent.

Lengths and order come from the generator that is passed in, parts one after another, so the same
seed gives the same requests to every layout. A part's requests are its share of the whole count by
largest remainder, exactly: no run has more of one class than another has by chance.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count as counter

import numpy as np

from workloads.load.content import UNKNOWN, Content, Prompt, Segment
from workloads.load.files.entries import Entry, read_entries
from workloads.load.files.histogram import read_histogram
from workloads.load.files.trace import read_trace
from workloads.load.traffic import Requests, Whole, alike
from workloads.load.workload import Lengths, LengthsFile, Part, PromptFile, TraceFile, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request of a part."""

    prompt: tuple[Segment, ...] | Prompt
    output_len: int
    turn: int = 0
    think_s: float = 0.0
    recorded_s: float = 0.0
    part: int = 0


Session = tuple[Asked, ...]


def draw(workload: Workload, rng: np.random.Generator, count: int) -> Requests:
    """Draw `count` requests of a workload."""
    if not workload.parts:
        return alike(count, workload.input_len, workload.output_len)
    keys = counter(1)
    sessions: list[Session] = []
    for number, (part, share) in enumerate(
        zip(workload.parts, shares(workload, count), strict=True)
    ):
        drawn = _sessions(part, rng, share, keys)
        sessions += [tuple(replace(asked, part=number) for asked in each) for each in drawn]
    if len(workload.parts) > 1:
        sessions = [sessions[index] for index in rng.permutation(len(sessions))]
    return _columns(workload, sessions)


def shares(workload: Workload, count: int) -> list[int]:
    """Divide `count` requests over a workload's parts by their weights, to the last one."""
    weights = np.array([part.weight for part in workload.parts])
    exact = count * weights / weights.sum()
    whole = np.floor(exact).astype(int)
    for index in np.argsort(whole - exact, kind="stable")[: count - whole.sum()]:
        whole[index] += 1
    return [int(each) for each in whole]


def _sessions(
    part: Part, rng: np.random.Generator, count: int, keys: Iterator[int]
) -> list[Session]:
    source = part.source
    if isinstance(source, PromptFile):
        return _from_file(part, read_entries(source)[:count], rng)
    if isinstance(source, TraceFile):
        return _from_trace(source, count, keys)
    return _synthetic(part, source, rng, count, keys)


def _synthetic(
    part: Part,
    source: Lengths | LengthsFile,
    rng: np.random.Generator,
    count: int,
    keys: Iterator[int],
) -> list[Session]:
    """Draw conversations of `turns` turns; the last one is cut where the count ends."""
    inputs, outputs = _lengths(source, rng, count)
    think_s = part.think_s.draw(rng, count) if part.think_s else np.zeros(count)
    number = -(-count // part.turns)
    prefixes = _prefixes(part, rng, number, keys)
    sessions = []
    for index, prefix in enumerate(prefixes):
        history, turns = prefix, []
        for turn, request in enumerate(
            range(index * part.turns, min(count, (index + 1) * part.turns))
        ):
            history = (*history, Segment(next(keys), int(inputs[request])))
            asked, wait_s = int(outputs[request]), float(think_s[request]) if turn else 0.0
            turns.append(Asked(prompt=history, output_len=asked, turn=turn, think_s=wait_s))
            history = (*history, Segment(next(keys), asked))
        sessions.append(tuple(turns))
    return sessions


def _lengths(
    source: Lengths | LengthsFile, rng: np.random.Generator, count: int
) -> tuple[Whole, Whole]:
    if isinstance(source, Lengths):
        return source.input.draw_tokens(rng, count), source.output.draw_tokens(rng, count)
    histogram = read_histogram(source.path, source.digest)
    rows = rng.choice(len(histogram.weights), count, p=histogram.weights)
    return histogram.input_lens[rows], histogram.output_lens[rows]


def _prefixes(
    part: Part, rng: np.random.Generator, count: int, keys: Iterator[int]
) -> list[tuple[Segment, ...]]:
    """Give each of `count` sessions its prefix: equal shares, in a drawn order."""
    if part.prefix is None:
        return [()] * count
    pieces = [(Segment(next(keys), part.prefix.tokens),) for _ in range(part.prefix.count)]
    return [pieces[index] for index in rng.permutation(np.arange(count) % part.prefix.count)]


def _from_trace(source: TraceFile, count: int, keys: Iterator[int]) -> list[Session]:
    """Take a trace's first requests; blocks of equal hashes become segments of equal keys."""
    trace = read_trace(source)
    numbers: dict[int, int] = {}
    sessions: list[Session] = []
    for row in range(count):
        hashes = trace.hashes_of(row)
        for each in hashes:
            if each not in numbers:
                numbers[each] = next(keys)
        blocks = [numbers[each] for each in hashes] or [next(keys)]
        asked = Asked(
            prompt=_chain(blocks, trace.block_tokens, int(trace.input_lens[row])),
            output_len=int(trace.output_lens[row]),
            recorded_s=float(trace.times_s[row]),
        )
        sessions.append((asked,))
    return sessions


def _chain(blocks: Sequence[int], block_tokens: int, length: int) -> tuple[Segment, ...]:
    """Fill `length` tokens with blocks; the last has what the others leave."""
    chain: list[Segment] = []
    left = length
    for key in blocks[:-1]:
        if left <= block_tokens:
            break
        chain.append(Segment(key, block_tokens))
        left -= block_tokens
    return (*chain, Segment(blocks[len(chain)], left))


def _from_file(part: Part, entries: Sequence[Entry], rng: np.random.Generator) -> list[Session]:
    think_s = part.think_s.draw(rng, len(entries)) if part.think_s else np.zeros(len(entries))
    sessions: dict[int, list[Asked]] = {}
    for entry, wait_s in zip(entries, think_s, strict=True):
        asked = Asked(
            prompt=entry.prompt,
            output_len=entry.output_len,
            turn=entry.turn,
            think_s=float(wait_s) if entry.turn else 0.0,
        )
        sessions.setdefault(entry.session, []).append(asked)
    return [tuple(each) for each in sessions.values()]


def _columns(workload: Workload, sessions: Sequence[Session]) -> Requests:
    asked = [each for session in sessions for each in session]
    chains = [each.prompt if _is_chain(each.prompt) else () for each in asked]
    literals = {i: each.prompt for i, each in enumerate(asked) if not _is_chain(each.prompt)}
    content = Content(chains, literals)  # type: ignore[arg-type]
    natural = np.array([part.natural for part in workload.parts])
    part_of = np.array([each.part for each in asked], np.int64)
    lengths = [content.tokens_of(request) for request in range(len(asked))]
    traced = len(workload.parts) == 1 and isinstance(workload.parts[0].source, TraceFile)
    return Requests(
        input_lens=np.array([UNKNOWN if each is None else each for each in lengths], np.int64),
        output_lens=np.array([each.output_len for each in asked], np.int64),
        natural=natural[part_of],
        session=np.repeat(np.arange(len(sessions)), [len(session) for session in sessions]),
        turn=np.array([each.turn for each in asked], np.int64),
        think_s=np.array([each.think_s for each in asked]),
        part_of=part_of,
        parts=tuple(part.label for part in workload.parts),
        content=content,
        recorded_s=np.array([each.recorded_s for each in asked]) if traced else None,
    )


def _is_chain(prompt: tuple[Segment, ...] | Prompt) -> bool:
    return isinstance(prompt, tuple) and isinstance(prompt[0], Segment)
