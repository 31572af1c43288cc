"""What is read of a completion request, and what is refused rather than ignored."""

from typing import Any

import msgspec

from catalog.errors import BadValue
from orchestrator.hfserver.decoder import Ask
from orchestrator.hfserver.scoring import MOST_TOP
from orchestrator.hfserver.text import Text

DEFAULT_TOKENS = 16
GREEDY = "greedy decoding of one answer a prompt, so leave it out"


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class Body(msgspec.Struct):
    """Fields that change the answer; others are ignored, as by every server of this kind."""

    model: str = ""
    prompt: str | list[int | str | list[int]] = ""
    messages: list[dict[str, Any]] = []
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    stream: bool = False
    stream_options: StreamOptions | None = None
    return_token_ids: bool = False
    temperature: float | None = None
    n: int | None = None
    best_of: int | None = None
    logprobs: bool | int | None = None
    prompt_logprobs: int | None = None
    echo: bool | None = None
    stop: str | list[str] | None = None

    @property
    def output_tokens(self) -> int:
        """Tokens wanted, 16 by default as in OpenAI's API."""
        given = self.max_completion_tokens
        given = self.max_tokens if given is None else given
        return DEFAULT_TOKENS if given is None else given


class TokenizeBody(msgspec.Struct):
    """What is read of a request to turn text into tokens."""

    prompt: str
    add_special_tokens: bool = True


def asks(body: Body, text: Text) -> tuple[Ask, ...]:
    """Return one `Ask` a prompt; raise BadValue for what this server cannot do."""
    _refuse_unsupported(body)
    wanted = body.output_tokens
    if wanted < 1:
        raise BadValue("max_tokens", wanted, "1 or more")
    if 0 < body.min_tokens < wanted and not body.ignore_eos:
        raise BadValue("min_tokens", body.min_tokens, "0, or as many as max_tokens")
    ignore_eos = body.ignore_eos or body.min_tokens >= wanted
    return tuple(Ask(prompt, wanted, ignore_eos) for prompt in _prompts(body, text))


def _refuse_unsupported(body: Body) -> None:
    if body.temperature not in (None, 0.0):
        raise BadValue("temperature", body.temperature, f"0: {GREEDY}")
    for name in ("n", "best_of"):
        if getattr(body, name) not in (None, 1):
            raise BadValue(name, getattr(body, name), f"1: {GREEDY}")
    if body.prompt_logprobs is not None and (body.stream or body.messages):
        raise BadValue("prompt_logprobs", body.prompt_logprobs, "a completion, not streamed")
    if not 0 <= (body.prompt_logprobs or 0) <= MOST_TOP:
        raise BadValue("prompt_logprobs", body.prompt_logprobs, f"0 to {MOST_TOP}")
    for name in ("logprobs", "echo", "stop"):
        if getattr(body, name):
            raise BadValue(name, getattr(body, name), f"nothing: {GREEDY}")


def _prompts(body: Body, text: Text) -> list[tuple[int, ...]]:
    if body.messages:
        return [text.encode_chat(body.messages)]
    given = body.prompt
    if isinstance(given, str):
        return [text.encode(given)]
    ids = tuple(each for each in given if isinstance(each, int))
    if len(ids) == len(given):
        return [ids]
    if ids:
        raise BadValue("prompt", "ids mixed with prompts", "one list of ids, or a list of prompts")
    return [
        text.encode(each) if isinstance(each, str) else tuple(each)
        for each in given
        if not isinstance(each, int)
    ]
