"""The parts of the OpenAI streaming protocol that a measurement needs."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from catalog.bounded import WholeRange
from catalog.errors import shown
from workloads.protocol.failure import Failure
from workloads.transcript import clean_error

ABSENT = msgspec.Raw()
LONGEST_QUOTED = 4_096
NO_CONTENT = frozenset({"role", "name", "id", "refusal", "annotations", "provider_specific_fields"})
"""Fields of a delta that hold no tokens; any other does, whatever a server calls its thoughts."""
EMPTY = frozenset({b'""', b"[]", b"{}"})
NO_ERROR = EMPTY | {b"false"}
"""Values of a field `error` with which a part of an answer says that there is none."""
COMPLAINTS = ("detail", "error_message", "error_msg", "message", "msg", "errors")
"""Where servers put their words when an event is neither of an answer nor an OpenAI error."""


class CachedTokens(msgspec.Struct, gc=False):
    cached_tokens: int | float | None = None


class AnswerTokens(msgspec.Struct, gc=False):
    reasoning_tokens: int | float | None = None


class Usage(msgspec.Struct, gc=False):
    # A server that lies about its usage may send anything here; see `count_of`.
    prompt_tokens: int | float | str | None = None
    completion_tokens: int | float | str | None = None
    prompt_tokens_details: CachedTokens | None = None
    prompt_cache_hit_tokens: int | float | None = None
    completion_tokens_details: AnswerTokens | None = None
    reasoning_tokens: int | float | None = None
    """SGLang's place for it."""

    @property
    def thoughts(self) -> float:
        """Tokens of the answer that are its thoughts, as far as that is told."""
        details = self.completion_tokens_details
        return (details and details.reasoning_tokens) or self.reasoning_tokens or 0

    @property
    def cached(self) -> float | None:
        details = self.prompt_tokens_details
        told = None if details is None else details.cached_tokens
        return self.prompt_cache_hit_tokens if told is None else told


class Choice(msgspec.Struct, gc=False):
    text: str | None = None
    delta: dict[str, msgspec.Raw] | None = None
    finish_reason: str | None = None
    token_ids: list[int] | None = None

    @property
    def has_content(self) -> bool:
        if self.text or self.delta is None:
            return bool(self.text)
        return any(
            name not in NO_CONTENT and _is_filled(bytes(value))
            for name, value in self.delta.items()
        )

    @property
    def is_answer(self) -> bool:
        """Whether its content is the answer's own text, and not a thought or a call."""
        return bool(self.text) or _is_filled(bytes((self.delta or {}).get("content", b"")))


class StreamEvent(msgspec.Struct, gc=False):
    choices: list[Choice] | None = None
    usage: Usage | None = None
    error: msgspec.Raw = ABSENT
    object: str | None = None
    message: msgspec.Raw = ABSENT

    @property
    def is_odd(self) -> bool:
        """True for an event that is no part of an answer: an error, or something between."""
        return (
            self.error is not ABSENT
            or self.object == "error"
            or (self.choices is None and self.usage is None)
        )


class _Named(msgspec.Struct, gc=False):
    model: str = ""


_decoder = msgspec.json.Decoder(StreamEvent)
_named = msgspec.json.Decoder(_Named)


def decode_events(datas: list[bytes]) -> Iterator[StreamEvent]:
    """Decode the JSON of events, none of which holds a line break; `Failure` at the first bad one.

    One pass over all of them costs half as much as one each.
    """
    try:
        events = _decoder.decode_lines(b"\n".join(datas))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        events = []
    if len(events) != len(datas) or any(event.is_odd for event in events):
        return map(decode_event, datas)
    return iter(events)


def decode_event(data: bytes) -> StreamEvent:
    """Decode one event's JSON; raise `Failure` if it is not one, or if it reports an error.

    What is not measured may be of any type, and text may be any bytes.
    """
    try:
        event = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        event = _lenient(data, error)
    said = bytes(event.error)
    if said not in (b"", b"null") and not (event.choices and said in NO_ERROR):
        raise Failure("STREAM_ERROR", clean_error(_plain(said)))
    if event.object == "error":
        words = _plain(bytes(event.message)).strip('"')
        raise Failure("STREAM_ERROR", clean_error(words or "error object in the stream"))
    if event.is_odd and (complaint := _complaint(data)):
        raise Failure("STREAM_ERROR", clean_error(complaint))
    return event


def model_named(data: bytes) -> str:
    """Return the model that an event says answers, "" where it says none."""
    try:
        return _named.decode(data).model
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""


def _lenient(data: bytes, error: Exception) -> StreamEvent:
    """Decode what is no strict JSON of the fields that are known, as far as it is measured."""
    try:
        found = json.loads(data.decode(errors="replace"))
        if not isinstance(found, dict):
            raise TypeError
        choices, usage = found.get("choices"), found.get("usage")
        return StreamEvent(
            choices=None if choices is None else [_choice(each) for each in choices],
            usage=_usage(usage) if isinstance(usage, dict) else None,
            error=_raw(found["error"]) if "error" in found else ABSENT,
            object=found["object"] if isinstance(found.get("object"), str) else None,
            message=_raw(found["message"]) if "message" in found else ABSENT,
        )
    except (ValueError, TypeError, AttributeError, RecursionError):
        words = clean_error(data[:LONGEST_QUOTED].decode(errors="replace"))[:80]
        raise Failure("BAD_JSON", clean_error(f"{error}: {words}")) from None


def _choice(found: Mapping[str, Any]) -> Choice:
    """Raises TypeError for what is measured and is not of its type, AttributeError for no object.

    Text is only ever looked at for whether there is any.
    """
    text, delta, ids = (found.get(name) for name in ("text", "delta", "token_ids"))
    if not isinstance(text, str | list | None) or not isinstance(delta, dict | None):
        raise TypeError
    if ids is not None and not (isinstance(ids, list) and all(type(each) is int for each in ids)):
        raise TypeError
    return Choice(
        text="text" if text else None,
        delta=None if delta is None else {name: _raw(value) for name, value in delta.items()},
        finish_reason=_reason(found.get("finish_reason")),
        token_ids=ids,
    )


def _reason(said: object) -> str | None:
    """SGLang's own API gives an object: `{"type": "length", "length": 16}`."""
    if isinstance(said, dict):
        said = said.get("type")
    return said if isinstance(said, str) else None


def _usage(found: Mapping[str, Any]) -> Usage:
    cached = _within(found, "prompt_tokens_details", "cached_tokens")
    thoughts = _within(found, "completion_tokens_details", "reasoning_tokens")
    return Usage(
        prompt_tokens=_number(found.get("prompt_tokens")),
        completion_tokens=_number(found.get("completion_tokens")),
        prompt_tokens_details=CachedTokens(cached),
        prompt_cache_hit_tokens=_whole(found.get("prompt_cache_hit_tokens")),
        completion_tokens_details=AnswerTokens(thoughts),
        reasoning_tokens=_whole(found.get("reasoning_tokens")),
    )


def _within(found: Mapping[str, Any], place: str, name: str) -> int | float | None:
    details = found.get(place)
    return _whole(details.get(name)) if isinstance(details, dict) else None


def _whole(said: object) -> int | float | None:
    return said if type(said) in (int, float) else None  # type: ignore[return-value]


def _number(said: object) -> int | float | str | None:
    if said is None or type(said) in (int, float, str):
        return said  # type: ignore[return-value]
    return shown(said)


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def _is_filled(value: bytes) -> bool:
    """Tell whether a field of a delta holds text or objects; numbers and flags are no tokens."""
    return value[:1] in (b'"', b"[", b"{") and value not in EMPTY


def _complaint(data: bytes) -> str:
    """Return the words of an event that has nothing of an answer in it but says what went wrong."""
    with suppress(ValueError, RecursionError):
        found = json.loads(data.decode(errors="replace"))
        if isinstance(found, dict) and any(found.get(name) for name in COMPLAINTS):
            return _plain(json.dumps(found).encode())
    return ""


def _plain(error: bytes) -> str:
    """Write JSON with nothing escaped that need not be: a masked key has one form then."""
    with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        error = msgspec.json.encode(msgspec.json.decode(error))
    return error.decode(errors="replace")


def count_of(said: float | str | None, name: str, most: int) -> int | None:
    """Return a token count that a server reported, None if it reported none.

    A whole number may be written as a fraction, 16.0. Raises `Failure` for what is no
    count, or one that no answer to this request can have: a count becomes a size, so it is never
    believed beyond `most`.
    """
    # What a `WholeRange` does, in place: some servers report usage with every token.
    if said is None or (type(said) is int and 0 <= said <= most):
        return said
    if isinstance(said, float) and said.is_integer() and 0 <= said <= most:
        return int(said)
    allowed = WholeRange(0, most).allowed
    raise Failure("TOKEN_COUNT_MISMATCH", f"usage.{name} is {shown(said)}, not {allowed}")
