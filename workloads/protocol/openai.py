"""The parts of the OpenAI streaming protocol that a measurement needs."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from workloads.protocol.failure import Failure
from workloads.protocol.usage import Timings, Usage, Wrapped, usage_of
from workloads.transcript import clean_error

ABSENT = msgspec.Raw()
LONGEST_QUOTED = 4_096
NO_CONTENT = frozenset(
    {"role", "name", "id", "refusal", "annotations", "provider_specific_fields", "type", "object",
     "channel", "index", "status", "model", "metadata", "obfuscation", "finish_reason",
     "stop_reason", "logprobs", "signature"}
)  # fmt: skip
"""Fields of a delta that hold no tokens; any other does, whatever a server calls its thoughts."""
CONTENT = re.compile(r"(?i)content|text|reason|think|thought|tool|function|audio")
"""Names of fields with tokens; beside a role, which begins an answer, no others have any."""
LABELS = frozenset({"id", "type", "index", "format", "role", "object", "signature"})
"""Fields within one that say what it is."""
EMPTY = frozenset({b'""', b"[]", b"{}"})
NO_ERROR = EMPTY | {b"false"}
"""Values of a field `error` with which a part of an answer says that there is none."""
COMPLAINTS = ("detail", "error_message", "error_msg", "message", "msg", "errors")
"""Where servers put their words when an event is neither of an answer nor an OpenAI error."""
KINDS = ("type", "event", "object", "status")
ALIVE = re.compile(r"(?i)(?:ping|heartbeat|keep[-_]?alive)")
"""Kinds of events that say nothing but that the connection lives."""


class Choice(msgspec.Struct, gc=False):
    text: str | None = None
    delta: dict[str, msgspec.Raw] | None = None
    finish_reason: str | None = None
    token_ids: list[int] | None = None
    usage: Usage | None = None
    """Moonshot's place for it."""
    error: msgspec.Raw = ABSENT

    @property
    def has_content(self) -> bool:
        if self.text or self.delta is None:
            return bool(self.text)
        begins = "role" in self.delta
        return any(
            name not in NO_CONTENT
            and _is_filled(bytes(value))
            and not (begins and not CONTENT.search(name))
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
    x_groq: Wrapped | None = None
    timings: Timings | None = None

    @property
    def counts(self) -> Usage | None:
        """What the server says it counted, in whichever place it says so."""
        if self.usage is not None:
            return self.usage
        if self.choices and self.choices[0].usage is not None:
            return self.choices[0].usage
        return None if self.x_groq is None else self.x_groq.usage

    @property
    def is_odd(self) -> bool:
        """True for an event that is no part of an answer: an error, or something between."""
        if self.error is not ABSENT or self.object == "error":
            return True
        if choices := self.choices:
            return choices[0].error is not ABSENT
        return choices is None and self.usage is None


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
    within = [bytes(choice.error) for choice in event.choices or () if choice.error is not ABSENT]
    for said in (bytes(event.error), *within):
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
        if found is None:
            return StreamEvent()
        if not isinstance(found, dict):
            raise TypeError
        choices, groq, timings = (found.get(name) for name in ("choices", "x_groq", "timings"))
        return StreamEvent(
            choices=None if choices is None else [_choice(each) for each in choices],
            usage=usage_of(found.get("usage")),
            x_groq=Wrapped(usage_of(groq.get("usage"))) if isinstance(groq, dict) else None,
            timings=_timings(timings),
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
        usage=usage_of(found.get("usage")),
        error=_raw(found["error"]) if "error" in found else ABSENT,
    )


def _timings(found: object) -> Timings | None:
    cached = found.get("cache_n") if isinstance(found, dict) else None
    return Timings(cached) if type(cached) is int else None


def _reason(said: object) -> str | None:
    """SGLang's own API gives an object: `{"type": "length", "length": 16}`."""
    if isinstance(said, dict):
        said = said.get("type")
    return said if isinstance(said, str) else None


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def _is_filled(value: bytes) -> bool:
    """Tell whether a field of a delta holds text; numbers, flags and labels are no tokens."""
    if value[:1] not in (b"[", b"{") or value in EMPTY:
        return value[:1] == b'"' and value not in EMPTY
    try:
        return _holds_text(msgspec.json.decode(value))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return True


def _holds_text(found: object) -> bool:
    if isinstance(found, dict):
        return any(_holds_text(each) for name, each in found.items() if name not in LABELS)
    if isinstance(found, list):
        return any(map(_holds_text, found))
    return isinstance(found, str) and bool(found)


def _complaint(data: bytes) -> str:
    """Return the words of an event that has nothing of an answer in it but says what went wrong."""
    with suppress(ValueError, RecursionError):
        found = json.loads(data.decode(errors="replace"))
        if not isinstance(found, dict) or any(_is_alive(found.get(name)) for name in KINDS):
            return ""
        if any(found.get(name) for name in COMPLAINTS):
            return _plain(json.dumps(found).encode())
    return ""


def _is_alive(kind: object) -> bool:
    return isinstance(kind, str) and ALIVE.fullmatch(kind) is not None


def _plain(error: bytes) -> str:
    """Write JSON with nothing escaped that need not be: a masked key has one form then."""
    with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        error = msgspec.json.encode(msgspec.json.decode(error))
    return error.decode(errors="replace")
