"""One completion request on its way back: streamed or whole, for one prompt or several."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from servers.http.generation import AnswerEnd, CompletionFailed, Delta, Finish, Generation
from servers.http.requests import CompletionBody

DONE = b"data: [DONE]\n\n"


@dataclass(slots=True)
class ChoiceState:
    """The answer to one prompt so far."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    finish_reason: Finish | None = None


class Completion:
    """Writes what a generation yields in OpenAI's shapes."""

    def __init__(
        self, body: CompletionBody, generation: Generation, *, chat: bool, number: int
    ) -> None:
        self._body, self._generation, self._chat = body, generation, chat
        self._id = f"{'chatcmpl' if chat else 'cmpl'}-{number:x}"
        self._given = 0

    async def whole(self, end: AnswerEnd) -> dict[str, Any]:
        """Wait for the end and return the body."""
        choices = [ChoiceState() for _ in self._generation.prompt_tokens]
        async for delta in self._generation.deltas():
            choice = choices[delta.choice]
            choice.text += delta.text
            choice.token_ids += delta.token_ids
            choice.finish_reason = delta.finish_reason
            self._given += len(delta.token_ids)
        kind = "chat.completion" if self._chat else "text_completion"
        return {
            **self._head(kind),
            "choices": [self._choice(index, choice) for index, choice in enumerate(choices)],
            "usage": self._usage(end),
        }

    async def events(self, end: AnswerEnd) -> AsyncIterator[bytes]:
        """Yield server-sent events as tokens come; a failure is one too."""
        head = self._head("chat.completion.chunk" if self._chat else "text_completion")
        if self._chat:
            for index in range(len(self._generation.prompt_tokens)):
                role = {"role": "assistant", "content": ""}
                yield event({**head, "choices": [{"index": index, "delta": role}]})
        try:
            async for delta in self._generation.deltas():
                self._given += len(delta.token_ids)
                yield event({**head, "choices": [self._delta(delta)]})
        except CompletionFailed as error:
            yield event({"error": {"message": str(error), "code": error.status}})
            return
        if self._body.include_usage and end.usage:
            yield event({**head, "choices": [], "usage": self._usage(end)})
        if end.done:
            yield DONE

    def _delta(self, delta: Delta) -> dict[str, Any]:
        said = {"delta": {"content": delta.text}} if self._chat else {"text": delta.text}
        ids = {"token_ids": delta.token_ids} if self._body.return_token_ids else {}
        ended = {"logprobs": None, "finish_reason": delta.finish_reason}
        return {"index": delta.choice, **said, **ended, **ids}

    def _choice(self, index: int, choice: ChoiceState) -> dict[str, Any]:
        message = {"role": "assistant", "content": choice.text}
        said = {"message": message} if self._chat else {"text": choice.text}
        ids = {"token_ids": choice.token_ids} if self._body.return_token_ids else {}
        ended = {"logprobs": None, "finish_reason": choice.finish_reason}
        return {"index": index, **said, **ended, **ids, **self._generation.extras(index)}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": 0, "model": self._body.model}

    def _usage(self, end: AnswerEnd) -> dict[str, Any]:
        asked, given = sum(self._generation.prompt_tokens), self._given + end.usage_off_by
        cached = self._generation.cached_tokens
        details = {} if cached is None else {"prompt_tokens_details": {"cached_tokens": cached}}
        return {
            "prompt_tokens": asked,
            "completion_tokens": given,
            "total_tokens": asked + given,
            **details,
        }


def event(body: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(body) + b"\n\n"
