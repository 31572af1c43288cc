"""One completion request on its way back: streamed or whole, for one prompt or several."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import msgspec

from orchestrator.hfserver.decoder import Ask
from orchestrator.hfserver.text import Text, TextStream
from orchestrator.hfserver.wire import Body
from orchestrator.hfserver.worker import Job, Update

DONE = b"data: [DONE]\n\n"


@dataclass(slots=True)
class Part:
    """The answer to one prompt so far."""

    text: TextStream
    tokens: list[int] = field(default_factory=list)
    written: str = ""
    finish: str | None = None
    times_s: list[float] = field(default_factory=list)
    """When each token came, on `perf_counter`."""


class AnswerFailed(Exception):
    """The decoder failed on a request; the message is for its client."""


class Answer:
    """Collects the updates of a request's jobs and writes them in OpenAI's shapes."""

    def __init__(
        self, body: Body, asks: Sequence[Ask], text: Text, *, chat: bool, number: int
    ) -> None:
        self._body, self._chat = body, chat
        self._id = f"{'chatcmpl' if chat else 'cmpl'}-{number:x}"
        self._updates: asyncio.Queue[tuple[int, Update]] = asyncio.Queue()
        self.parts = [Part(TextStream(text)) for _ in asks]
        self.jobs = [Job(ask, self._listener(index)) for index, ask in enumerate(asks)]

    def _listener(self, index: int) -> Callable[[Update], None]:
        return lambda update: self._updates.put_nowait((index, update))

    async def whole(self) -> dict[str, Any]:
        """Wait for the end and return the body."""
        async for index, _, text in self._parts():
            self.parts[index].written += text
        kind = "chat.completion" if self._chat else "text_completion"
        choices = [self._choice(index, part) for index, part in enumerate(self.parts)]
        return {**self._head(kind), "choices": choices, "usage": self._usage()}

    async def events(self) -> AsyncIterator[bytes]:
        """Yield server-sent events as tokens become final; a failure is one too."""
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        head = self._head(kind)
        if self._chat:
            for index in range(len(self.parts)):
                delta = {"role": "assistant", "content": ""}
                yield event({**head, "choices": [{"index": index, "delta": delta}]})
        try:
            async for index, update, text in self._parts():
                yield event({**head, "choices": [self._delta(index, update, text)]})
        except AnswerFailed as error:
            yield event({"error": {"message": str(error), "code": 500}})
            return
        options = self._body.stream_options
        if options and options.include_usage:
            yield event({**head, "choices": [], "usage": self._usage()})
        yield DONE

    async def _parts(self) -> AsyncIterator[tuple[int, Update, str]]:
        """Yield each update with the text it adds, until every job has ended."""
        left = len(self.jobs)
        while left:
            index, update = await self._updates.get()
            if update.error:
                raise AnswerFailed(update.error)
            part = self.parts[index]
            part.tokens += update.tokens
            part.times_s += [perf_counter()] * len(update.tokens)
            part.finish = update.finish
            left -= update.last
            yield index, update, part.text.add(update.tokens, last=update.last)

    def _delta(self, index: int, update: Update, text: str) -> dict[str, Any]:
        said = {"delta": {"content": text}} if self._chat else {"text": text}
        ids = {"token_ids": list(update.tokens)} if self._body.return_token_ids else {}
        return {"index": index, **said, "finish_reason": update.finish, **ids}

    def _choice(self, index: int, part: Part) -> dict[str, Any]:
        message = {"role": "assistant", "content": part.written}
        said = {"message": message} if self._chat else {"text": part.written}
        ids = {"token_ids": part.tokens} if self._body.return_token_ids else {}
        return {"index": index, **said, "finish_reason": part.finish, **ids}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": 0, "model": self._body.model}

    def _usage(self) -> dict[str, int]:
        asked = sum(len(job.ask.prompt) for job in self.jobs)
        given = sum(len(part.tokens) for part in self.parts)
        return {
            "prompt_tokens": asked,
            "completion_tokens": given,
            "total_tokens": asked + given,
        }


def event(body: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(body) + b"\n\n"
