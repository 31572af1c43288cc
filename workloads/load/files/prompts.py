"""Files of prompts: JSON lines, or ShareGPT's JSON, read and checked line by line.

A line of JSON is one request, and has `prompt` (text), `prompt_token_ids` or `messages` (of a
chat), and may have `output_len`; the names that other load generators give the text and the length
are read alike. Where the last message is the assistant's, it is the recorded answer. The same
objects may stand in one JSON array; ShareGPT's have `conversations`, of `from` and `value`, LMSYS's
and WildChat's a `conversation`, which is as `messages`, and lines of the OpenAI batch API a `body`.
"""

import codecs
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
GIVEN = ("prompt", "text", "text_input", "prompt_token_ids", "messages", "conversation")
ASKED = ("output_len", "output_tokens", "output_length", "output_tokens_count", "max_new_tokens",
         "max_completion_tokens", "max_tokens")  # fmt: skip
"""Names of an answer's length: here, in `vllm bench serve`, in AIPerf, in GuideLLM, in
transformers, in the OpenAI API."""
BEYOND_TEXT = ("image_files", "images", "image", "audio", "audios", "video", "videos", "tools",
               "functions", "response_format")  # fmt: skip
UNSENT = {
    **dict.fromkeys(BEYOND_TEXT, "text alone is sent: leave out field or line"),
    **dict.fromkeys(("n", "best_of"), "one answer is asked of each prompt: repeat the line"),
    **dict.fromkeys(("system", "system_prompt", "prefix"), "stands in the prompt, or in messages"),
    "delay": "each line is a request of its own; turns stand in one line's messages, with turns=",
}
"""Fields that ask for what is not sent as it stands; anything but nothing, or one answer, is."""
LENGTHS = WholeRange(1, 10_000_000)
SAID = ("role", "content")
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


class _Said(msgspec.Struct):
    value: str
    from_: str = msgspec.field(name="from")


_Line = msgspec.defstruct(
    "_Line",
    [
        *((name, str | None, None) for name in GIVEN[:-3]),
        ("prompt_token_ids", list[int] | None, None),
        ("messages", list[dict[str, msgspec.Raw]] | None, None),
        ("conversation", list[dict[str, msgspec.Raw]] | None, None),
        ("conversations", list[_Said] | None, None),
        ("body", msgspec.Raw, msgspec.Raw(b"")),
        *((name, int | None, None) for name in ASKED),
        *((name, Any, None) for name in UNSENT),
    ],
)
"""What of a line is read; further fields are other people's."""


_decoder = msgspec.json.Decoder(_Line)


@lru_cache(maxsize=8)
def read_prompts(path: Path, digest: str) -> tuple[Recorded, ...]:
    """Read a file's requests; BadFile names file, line and field of what is wrong."""
    data = read_bytes(path, digest, WHAT).removeprefix(codecs.BOM_UTF8)
    if data.strip() and data.lstrip()[:1] not in (b"{", b"["):
        raise bad_line(path, 1, "prompt", "is no JSON; a plain text is cut with ,cut=TOKENS")
    found = tuple(_array(path, data) if data.lstrip()[:1] == b"[" else _lines(path, data))
    if not found:
        told = "holds no conversation that begins with a prompt (human) and its answer (gpt)"
        raise BadFile(path, told)
    return found


def read_text(path: Path, digest: str) -> str:
    """Read a plain text; BadFile where it is none."""
    try:
        return read_bytes(path, digest, WHAT).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFile(path, f"is not UTF-8: {error.reason} at byte {error.start}") from None


def _lines(path: Path, data: bytes) -> Iterator[Recorded]:
    for number, line in lines_of(path, data):
        yield from _recorded(path, number, line)


def _recorded(path: Path, number: int, line: bytes | msgspec.Raw) -> Iterator[Recorded]:
    """Yield the request of a line: none of a conversation that has no first answer."""
    try:
        found: Any = _decoder.decode(line)
        if bytes(found.body) and not _given(found, GIVEN):
            found = _decoder.decode(found.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadFile(path, f"line {number}: {error}") from None
    for name, told in UNSENT.items():
        if (value := getattr(found, name)) and value != 1:
            raise bad_line(path, number, name, told)
    if found.conversations is not None:
        yield from _sharegpt(number, found.conversations)
        return
    yield Recorded(
        line=number, output_len=_length(path, number, found), **_prompt(path, number, found)
    )


def _given(line: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(line, name)) is not None}


def _length(path: Path, number: int, line: Any) -> int | None:
    given = _given(line, ASKED)
    for name, length in given.items():
        if length not in LENGTHS:
            raise bad_line(path, number, name, f"{length} is not {LENGTHS.allowed}")
    if len(set(given.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in given.items())
        raise bad_line(path, number, next(iter(given)), f"an answer has one length, found {told}")
    return next(iter(given.values()), None)


def _prompt(path: Path, number: int, line: Any) -> Mapping[str, Any]:
    given = _given(line, GIVEN)
    if len(given) != 1:
        told = f"one of {', '.join(GIVEN)} is needed, found {', '.join(given) or 'none'}"
        raise bad_line(path, number, [GIVEN[0], *given][-1], told)
    ((name, value),) = given.items()
    if not value:
        raise bad_line(path, number, name, "is empty")
    if name == "conversation":  # beside what was said others keep who, where and when
        value = [{key: one[key] for key in SAID if key in one} for one in value]
    if name in ("messages", "conversation"):
        return {"messages": _messages(path, number, value)}
    if name != "prompt_token_ids":
        return {"text": value}
    wrong = next((each for each in value if each not in TOKEN_IDS), None)
    if wrong is not None:
        raise bad_line(path, number, name, f"{wrong} is not {TOKEN_IDS.allowed}")
    return {"ids": np.array(value, np.int32)}


def _messages(path: Path, number: int, given: list[dict[str, msgspec.Raw]]) -> tuple[Message, ...]:
    found = tuple(
        {name: msgspec.json.decode(value) for name, value in message.items()} for message in given
    )
    for message in found:
        for name in SAID:
            if not isinstance(message.get(name), str):
                raise bad_line(path, number, f"messages.{name}", "is missing, or no text")
    if not any(message["role"] == "user" for message in found):
        raise bad_line(path, number, "messages.role", "none is user: nothing is asked")
    return found


def _array(path: Path, data: bytes) -> Iterator[Recorded]:
    """Yield an array's requests, numbered from 1."""
    try:
        found = msgspec.json.decode(data, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadFile(path, f"line 1: is no JSON array: {error}") from None
    for number, each in enumerate(found, 1):
        yield from _recorded(path, number, each)


def _sharegpt(number: int, conversation: list[_Said]) -> Iterator[Recorded]:
    """Yield a conversation that begins with a prompt and its answer, as others' loaders do."""
    said = [(ROLES.get(one.from_), one.value) for one in conversation]
    roles = [role for role, _ in said[:2]]
    if roles == ["user", "assistant"] and all(value for _, value in said[:2]):
        messages = tuple({"role": role, "content": value} for role, value in said if role)
        yield Recorded(line=number, messages=messages, chat=False)
