"""What a file of prompts asks: one entry a request, in tokens where a tokenizer is at hand."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from catalog.errors import BadFile
from workloads.load.content import Message, Prompt
from workloads.load.distribution import Distribution
from workloads.load.files.open import bad_line
from workloads.load.files.prompts import Recorded, read_prompts, read_text
from workloads.load.files.tokenizer import Tokenizer, tokenizer_in
from workloads.load.workload import PromptFile

USUAL_OUTPUT = 256
"""Tokens of an answer that neither the file nor `output=` speaks of, as `vllm bench serve` has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One request of a file; a session's turns stand one behind the other."""

    prompt: Prompt
    output_len: int
    session: int
    turn: int = 0
    line: int = 0
    """Where the file has it."""


@dataclass(frozen=True, slots=True)
class _Turn:
    """One request before it is in tokens."""

    recorded: Recorded
    prompt: str | tuple[Message, ...]
    answer: str | None


@lru_cache(maxsize=8)
def read_entries(source: PromptFile) -> tuple[Entry, ...]:
    """Return a file's requests; text without a tokenizer stays text."""
    if source.cut is not None:
        return tuple(_pieces(source, source.cut, _tokenizer(source)))
    found = read_prompts(source.path, source.digest)
    if source.turns is not None and not any(each.messages for each in found):
        raise BadFile(source.path, "holds no conversation that turns= could divide: leave it out")
    # Ids need no tokenizer, nor the library that reads one.
    tokenizer = _tokenizer(source) if any(each.ids is None for each in found) else None
    return tuple(
        entry
        for session, recorded in enumerate(found)
        for entry in _entries(source, recorded, session, tokenizer)
    )


def _tokenizer(source: PromptFile) -> Tokenizer | None:
    return tokenizer_in(Path(source.tokenizer)) if source.tokenizer else None


def _pieces(
    source: PromptFile, lengths: Distribution, tokenizer: Tokenizer | None
) -> Iterator[Entry]:
    """Cut a text into prompts of drawn lengths, one behind the other; none holds another's tokens.

    The lengths are drawn by the file's hash: a file is cut in one way.
    """
    text = read_text(source.path, source.digest)
    if tokenizer is None:
        told = "a text is cut in the model's tokens: ,tokenizer=FOLDER, or a model that has one"
        raise bad_line(source.path, 1, "prompt", told)
    ids = tokenizer.encode([text], special=False)[0]
    rng, at, session = np.random.default_rng(int(source.digest, 16)), 0, 0
    while at < len(ids):
        (length,) = lengths.draw_tokens(rng, 1)
        if at + length > len(ids):
            break
        piece = ids[at : at + length]
        yield Entry(
            prompt=piece, output_len=source.output_len or USUAL_OUTPUT, session=session, line=1
        )
        at, session = at + int(length), session + 1
    if not session:
        raise bad_line(source.path, 1, "prompt", f"its {len(ids)} tokens are less than one prompt")


def _entries(
    source: PromptFile, recorded: Recorded, session: int, tokenizer: Tokenizer | None
) -> Iterator[Entry]:
    if recorded.ids is not None:
        length = source.output_len or recorded.output_len or USUAL_OUTPUT
        yield Entry(prompt=recorded.ids, output_len=length, session=session, line=recorded.line)
        return
    for turn, asked in enumerate(_turns(source, recorded)):
        yield Entry(
            prompt=_tokens(source, asked, tokenizer),
            output_len=_output_len(source, asked, tokenizer),
            session=session,
            turn=turn,
            line=recorded.line,
        )


def _turns(source: PromptFile, recorded: Recorded) -> Sequence[_Turn]:
    """Divide a conversation into its turns, or take it as the one request it is.

    Of one that is not divided the whole history is asked, but for an answer at its end; of
    ShareGPT's the first prompt.
    """
    if recorded.text is not None:
        return [_Turn(recorded, recorded.text, None)]
    messages = recorded.messages
    asked = [number for number, each in enumerate(messages) if each["role"] == "user"]
    if source.turns is None:
        asked = asked[-1:] if recorded.chat else asked[:1]
    turns = []
    for number in asked[: source.turns]:
        following = messages[number + 1 : number + 2]
        answered = following and following[0]["role"] == "assistant"
        answer = str(following[0]["content"]) if answered else None
        plain = not recorded.chat and source.turns is None
        prompt = str(messages[number]["content"]) if plain else messages[: number + 1]
        turns.append(_Turn(recorded, prompt, answer))
    return turns


def _tokens(source: PromptFile, asked: _Turn, tokenizer: Tokenizer | None) -> Prompt:
    prompt = asked.prompt
    if tokenizer is None or (not isinstance(prompt, str) and not tokenizer.has_template):
        return prompt
    if isinstance(prompt, str):
        return tokenizer.encode([prompt])[0]
    try:
        return tokenizer.encode_chat(prompt)
    except ValueError as error:
        raise bad_line(source.path, asked.recorded.line, "messages", str(error)) from None


def _output_len(source: PromptFile, asked: _Turn, tokenizer: Tokenizer | None) -> int:
    """The length asked for, else the recorded one, else the usual one."""
    recorded = asked.recorded
    if source.output_len or recorded.output_len:
        return source.output_len or recorded.output_len or USUAL_OUTPUT
    if asked.answer is None:
        return USUAL_OUTPUT
    if tokenizer is None:
        told = "its length needs the model's tokenizer: ,tokenizer=FOLDER; or give ,output=TOKENS"
        raise bad_line(source.path, recorded.line, "recorded answer", told)
    return max(1, len(tokenizer.encode([asked.answer], special=False)[0]))


def longest_of(entries: Sequence[Entry]) -> Entry:
    """Return the entry with the most tokens, of prompt and answer together."""
    return max(entries, key=lambda entry: len(np.asarray(entry.prompt)) + entry.output_len)
