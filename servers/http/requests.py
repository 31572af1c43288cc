"""What is read of a completion request."""

from typing import Any

import msgspec

from catalog.errors import BadValue

DEFAULT_TOKENS = 16
MOST_PROMPTS = 4096

Prompt = str | tuple[int, ...]
"""Text, or token ids."""


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class CompletionBody(msgspec.Struct):
    """Fields that some server reads; others are ignored, as by every server of this kind."""

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
    cache_salt: str | None = None

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


def output_tokens(body: CompletionBody) -> int:
    """Tokens wanted, 16 by default as in OpenAI's API; raise BadValue unless there is one."""
    given = body.max_completion_tokens
    given = body.max_tokens if given is None else given
    wanted = DEFAULT_TOKENS if given is None else given
    if wanted < 1:
        raise BadValue("max_tokens", wanted, "1 or more")
    return wanted


def prompts(body: CompletionBody) -> list[Prompt]:
    """Return the prompts of a request without messages; raise BadValue for a mixture."""
    given = body.prompt
    if not isinstance(given, str) and len(given) > MOST_PROMPTS and not isinstance(given[0], int):
        raise BadValue("prompt", f"{len(given)} prompts", f"at most {MOST_PROMPTS} in a request")
    if isinstance(given, str):
        return [given]
    ids = tuple(each for each in given if isinstance(each, int))
    if len(ids) == len(given):
        return [ids]
    if ids:
        raise BadValue("prompt", "ids mixed with prompts", "one list of ids, or a list of prompts")
    return [
        each if isinstance(each, str) else tuple(each)
        for each in given
        if not isinstance(each, int)
    ]


def check_length(prompt_tokens: int, wanted: int, longest: int) -> None:
    """Refuse an empty prompt, and one that does not fit `longest` together with its answer."""
    if not prompt_tokens:
        raise BadValue("prompt", "", "one token or more")
    if prompt_tokens + wanted > longest:
        given = f"{prompt_tokens} + {wanted}"
        raise BadValue("tokens of prompt and answer", given, f"{longest} together")
