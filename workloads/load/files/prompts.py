"""Files of prompts: JSON lines, ShareGPT's JSON, read and checked line by line.

A line of JSON is one request, and has `prompt` (text), `prompt_token_ids` or `messages` (of a
chat), may have `output_len`, and no other field of ours. ShareGPT's file is one JSON array of
objects with `conversations`, of `from` and `value`: of each the first prompt is asked.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np

from catalog.bounded import TOKEN_IDS, WholeRange
from catalog.errors import BadFile
from workloads.load.content import Message, Prompt
from workloads.load.files.entries import Entry
from workloads.load.files.open import bad_line, lines_of, read_bytes
from workloads.load.workload import PromptFile

WHAT = "file of prompts"
GIVEN = ("prompt", "prompt_token_ids", "messages")
LENGTHS = WholeRange(1, 10_000_000)
USUAL_OUTPUT = 256
"""Tokens of an answer that neither the file nor `output=` speaks of."""
HUMAN, MODEL = ("human", "user"), ("gpt", "chatgpt", "assistant", "bing", "bard", "model")


class _Line(msgspec.Struct):
    """Further fields are other people's."""

    prompt: str | None = None
    prompt_token_ids: list[int] | None = None
    messages: list[dict[str, msgspec.Raw]] | None = None
    output_len: int | None = None


class _Said(msgspec.Struct):
    value: str
    from_: str = msgspec.field(name="from")


class _Conversation(msgspec.Struct):
    conversations: list[_Said] = []


@dataclass(frozen=True, slots=True)
class RawEntry:
    """One request as a file has it, and what it recorded of the answer."""

    line: int
    prompt: Prompt
    output_len: int | None = None
    answer: str | None = None
    """The recorded answer's text, whose tokens are the output length."""


def raw_entries(source: PromptFile) -> tuple[Entry, ...]:
    """Return a file's requests as far as that goes without a tokenizer."""
    return tuple(
        Entry(
            prompt=raw.prompt,
            output_len=source.output_len or raw.output_len or USUAL_OUTPUT,
            session=number,
            line=raw.line,
        )
        for number, raw in enumerate(read_prompts(source.path, source.digest))
    )


@lru_cache(maxsize=8)
def read_prompts(path: Path, digest: str) -> tuple[RawEntry, ...]:
    """Read a file's requests; BadFile names file, line and field of what is wrong."""
    data = read_bytes(path, digest, WHAT)
    found = tuple(_sharegpt(path, data) if data.lstrip()[:1] == b"[" else _lines(path, data))
    if not found:
        raise BadFile(path, "holds no conversation that begins with a prompt")
    return found


def _lines(path: Path, data: bytes) -> Iterator[RawEntry]:
    decoder = msgspec.json.Decoder(_Line)
    for number, line in lines_of(path, data):
        try:
            found = decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadFile(path, f"line {number}: {error}") from None
        length = found.output_len
        if length is not None and length not in LENGTHS:
            raise bad_line(path, number, "output_len", f"{length} is not {LENGTHS.allowed}")
        yield RawEntry(number, _prompt(path, number, found), length)


def _prompt(path: Path, number: int, line: _Line) -> Prompt:
    given = [name for name in GIVEN if getattr(line, name) is not None]
    if len(given) != 1:
        told = f"one of {', '.join(GIVEN)} is needed, found {', '.join(given) or 'none'}"
        raise bad_line(path, number, given[-1] if given else GIVEN[0], told)
    if not getattr(line, given[0]):
        raise bad_line(path, number, given[0], "is empty")
    if line.prompt is not None:
        return line.prompt
    if line.messages is not None:
        return _messages(path, number, line.messages)
    ids = line.prompt_token_ids or []
    if any(each not in TOKEN_IDS for each in ids):
        raise bad_line(path, number, "prompt_token_ids", f"an id is not {TOKEN_IDS.allowed}")
    return np.array(ids, np.int32)


def _messages(path: Path, number: int, given: list[dict[str, msgspec.Raw]]) -> tuple[Message, ...]:
    found = []
    for message in given:
        plain = {name: msgspec.json.decode(value) for name, value in message.items()}
        for name in ("role", "content"):
            if not isinstance(plain.get(name), str):
                raise bad_line(path, number, f"messages.{name}", "is not text")
        found.append(plain)
    if found[-1]["role"] == "assistant":
        raise bad_line(path, number, "messages", "the last message is the assistant's, no prompt")
    return tuple(found)


def _sharegpt(path: Path, data: bytes) -> Iterator[RawEntry]:
    try:
        found = msgspec.json.decode(data, type=list[_Conversation])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadFile(path, f"line 1: is not ShareGPT's JSON: {error}") from None
    for number, each in enumerate(found, 1):
        said = each.conversations
        if len(said) < 2 or said[0].from_ not in HUMAN or said[1].from_ not in MODEL:
            continue
        if said[0].value and said[1].value:
            yield RawEntry(number, said[0].value, None, said[1].value)
