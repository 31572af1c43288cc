"""What is refused rather than ignored in a completion request, and its prompts as token ids."""

import msgspec

from catalog.errors import BadValue
from servers.http.requests import CompletionBody, prompts
from servers.huggingface.decoder import CompletionRequest
from servers.huggingface.scoring import MOST_TOP
from servers.huggingface.text import TextCodec

GREEDY = "greedy decoding of one answer a prompt, so leave it out"


class TokenizeBody(msgspec.Struct):
    """What is read of a request to turn text into tokens."""

    prompt: str
    add_special_tokens: bool = True


def completion_requests(
    body: CompletionBody, text: TextCodec, wanted: int
) -> tuple[CompletionRequest, ...]:
    """Return one request a prompt; raise BadValue for what this server cannot do."""
    _refuse_unsupported(body)
    if 0 < body.min_tokens < wanted and not body.ignore_eos:
        raise BadValue("min_tokens", body.min_tokens, "0, or as many as max_tokens")
    ignore_eos = body.ignore_eos or body.min_tokens >= wanted
    return tuple(CompletionRequest(prompt, wanted, ignore_eos) for prompt in _token_ids(body, text))


def _refuse_unsupported(body: CompletionBody) -> None:
    if body.temperature not in (None, 0.0):
        raise BadValue("temperature", body.temperature, f"0: {GREEDY}")
    for name in ("n", "best_of"):
        if getattr(body, name) not in (None, 1):
            raise BadValue(name, getattr(body, name), f"1: {GREEDY}")
    top = body.prompt_logprobs
    if top is not None and (body.stream or body.messages):
        raise BadValue("prompt_logprobs", top, "a completion, not streamed")
    if not 0 <= (top or 0) <= MOST_TOP:
        raise BadValue("prompt_logprobs", top, f"0 to {MOST_TOP}")
    for name in ("logprobs", "echo", "stop"):
        if getattr(body, name):
            raise BadValue(name, getattr(body, name), f"nothing: {GREEDY}")


def _token_ids(body: CompletionBody, text: TextCodec) -> list[tuple[int, ...]]:
    if body.messages:
        return [text.encode_chat(body.messages)]
    given = prompts(body)
    return [text.encode(each) if isinstance(each, str) else each for each in given]
