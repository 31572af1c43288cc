"""Answers of a completion server, as bytes: right ones, and ways to send them wrong."""

import json
from itertools import pairwise
from random import Random

from tests.fuzz.mutate import mutated

HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
LAST = b"0\r\n\r\n"
TOKENS = 4


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(value: object) -> bytes:
    text = value if isinstance(value, str) else json.dumps(value)
    return f"data: {text}\n\n".encode()


def _choice(last: bool, **more: object) -> dict[str, object]:
    return {"index": 0, "text": " a", "finish_reason": "length" if last else None, **more}


def _events(**more: object) -> list[bytes]:
    told = {"prompt_tokens": 4, "completion_tokens": TOKENS, "total_tokens": 4 + TOKENS}
    events = [
        event(
            {
                "choices": [_choice(n == TOKENS - 1, **more)],
                "usage": {**told, "completion_tokens": n + 1},
            }
        )
        for n in range(TOKENS)
    ]
    return [*events, event({"choices": [], "usage": told}), event("[DONE]")]


def _chat() -> list[bytes]:
    """A chat's answer, with reasoning and a refusal of a kind that servers send."""
    deltas = [{"role": "assistant"}, {"content": "a"}, {"reasoning_content": "b"}, {"content": "c"}]
    events = [
        event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        for delta in deltas
    ]
    end = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    usage = event({"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 3}})
    return [*events, end, usage, event("[DONE]")]


def _plain(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


SEEDS: tuple[bytes, ...] = (
    HEAD + b"".join(map(chunk, _events())) + LAST,
    HEAD + b"".join(map(chunk, _events(token_ids=[5, 6], logprobs={"tokens": ["a"]}))) + LAST,
    HEAD + b"".join(map(chunk, _chat())) + LAST,
    HEAD + b"".join(bytes([*chunk(b": still here\n\n" + one)]) for one in _events()) + LAST,
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    + b"".join(_events()),
    _plain("429 Too Many Requests", b'{"error": {"message": "later", "code": 429}}'),
    HEAD + chunk(event({"error": {"message": "dead", "type": "x", "code": 500}})) + LAST,
)


def answer(rng: Random) -> bytes:
    """Return a right answer, or one with damage."""
    seed = rng.choice(SEEDS)
    return seed if rng.random() < 0.1 else mutated(rng, seed)


def pieces(rng: Random, data: bytes) -> list[bytes]:
    """Cut bytes where no protocol would: at random, now and then a byte at a time."""
    if not data:
        return []
    if rng.random() < 0.05:
        return [data[at : at + 1] for at in range(min(len(data), 2000))]
    cuts = sorted({0, len(data), *(rng.randrange(len(data)) for _ in range(rng.randint(0, 6)))})
    return [data[begin:end] for begin, end in pairwise(cuts)]
