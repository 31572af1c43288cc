"""Files of prompts: JSON lines, or ShareGPT's JSON, read and checked line by line.

A line of JSON is one request, and has `prompt` (text), `prompt_token_ids` or `messages` (of a
chat), and may have `output_len`. Where the last message is the assistant's, it is the recorded
answer. ShareGPT's file is one JSON array of objects with `conversations`, of `from` and `value`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from catalog.bounded import TOKEN_IDS, WholeRange
from catalog.errors import BadFile
from workloads.load.content import Message, TokenIds
from workloads.load.files.open import bad_line, lines_of, read_bytes

WHAT = "file of prompts"
GIVEN = ("prompt", "prompt_token_ids", "messages")
LENGTHS = WholeRange(1, 10_000_000)
ROLES = {"human": "user", "user": "user", "system": "system", "gpt": "assistant",
         "chatgpt": "assistant", "assistant": "assistant", "bing": "assistant",
         "bard": "assistant", "model": "assistant"}  # fmt: skip
"""ShareGPT's names of who speaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What one line of a file holds: one of ids, a text, or a conversation."""

    line: int
    ids: TokenIds | None = None
    text: str | None = None
    messages: tuple[Message, ...] = ()
    chat: bool = True
    """False for a conversation whose first prompt is asked as a plain text."""
    output_len: int | None = None


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


@lru_cache(maxsize=8)
def read_prompts(path: Path, digest: str) -> tuple[Recorded, ...]:
    """Read a file's requests; BadFile names file, line and field of what is wrong."""
    data = read_bytes(path, digest, WHAT)
    if data.strip() and data.lstrip()[:1] not in (b"{", b"["):
        raise bad_line(path, 1, "prompt", "is no JSON; a plain text is cut with ,cut=TOKENS")
    found = tuple(_sharegpt(path, data) if data.lstrip()[:1] == b"[" else _lines(path, data))
    if not found:
        raise BadFile(path, "holds no conversation of a prompt and an answer")
    return found


def read_text(path: Path, digest: str) -> str:
    """Read a plain text; BadFile where it is none."""
    try:
        return read_bytes(path, digest, WHAT).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFile(path, f"is not UTF-8: {error.reason} at byte {error.start}") from None


def _lines(path: Path, data: bytes) -> Iterator[Recorded]:
    decoder = msgspec.json.Decoder(_Line)
    for number, line in lines_of(path, data):
        try:
            found = decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadFile(path, f"line {number}: {error}") from None
        length = found.output_len
        if length is not None and length not in LENGTHS:
            raise bad_line(path, number, "output_len", f"{length} is not {LENGTHS.allowed}")
        yield Recorded(line=number, output_len=length, **_prompt(path, number, found))


def _prompt(path: Path, number: int, line: _Line) -> Mapping[str, Any]:
    given = [name for name in GIVEN if getattr(line, name) is not None]
    if len(given) != 1:
        told = f"one of {', '.join(GIVEN)} is needed, found {', '.join(given) or 'none'}"
        raise bad_line(path, number, given[-1] if given else GIVEN[0], told)
    if not getattr(line, given[0]):
        raise bad_line(path, number, given[0], "is empty")
    if line.prompt is not None:
        return {"text": line.prompt}
    if line.messages is not None:
        return {"messages": _messages(path, number, line.messages)}
    ids = line.prompt_token_ids or []
    wrong = next((each for each in ids if each not in TOKEN_IDS), None)
    if wrong is not None:
        raise bad_line(path, number, "prompt_token_ids", f"{wrong} is not {TOKEN_IDS.allowed}")
    return {"ids": np.array(ids, np.int32)}


def _messages(path: Path, number: int, given: list[dict[str, msgspec.Raw]]) -> tuple[Message, ...]:
    found = tuple(
        {name: msgspec.json.decode(value) for name, value in message.items()} for message in given
    )
    for message in found:
        for name in ("role", "content"):
            if not isinstance(message.get(name), str):
                raise bad_line(path, number, f"messages.{name}", "is missing, or no text")
    if not any(message["role"] == "user" for message in found):
        raise bad_line(path, number, "messages.role", "none is user: nothing is asked")
    return found


def _sharegpt(path: Path, data: bytes) -> Iterator[Recorded]:
    """Yield the conversations that begin with a prompt and its answer, as others' loaders do."""
    try:
        found = msgspec.json.decode(data, type=list[_Conversation])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadFile(path, f"line 1: is not ShareGPT's JSON: {error}") from None
    for number, each in enumerate(found, 1):
        said = [(ROLES.get(one.from_), one.value) for one in each.conversations]
        roles = [role for role, _ in said[:2]]
        if roles == ["user", "assistant"] and all(value for _, value in said[:2]):
            messages = tuple({"role": role, "content": value} for role, value in said if role)
            yield Recorded(line=number, messages=messages, chat=False)
