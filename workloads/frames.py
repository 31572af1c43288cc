"""What a client's processes say to each other: messages, each behind its length."""

import asyncio
from typing import Any, TypeVar

import msgspec
import numpy as np

from workloads.runstats import RunStats
from workloads.session import Progress
from workloads.target import Endpoint
from workloads.transcript import RequestRow

LENGTH_BYTES = 4


class Job(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A worker's share of a run; prompts are int32 ids of `input_len` each, or texts."""

    base_url: str
    model: str
    api_key: str
    endpoint: Endpoint
    return_token_ids: bool
    extra_body: dict[str, msgspec.Raw]
    ca_file: str | None
    connect_timeout_s: float
    idle_timeout_s: float
    request_timeout_s: float
    token_ids: bytes
    input_len: int
    texts: list[str]
    output_len: int
    slots: int
    due_s: list[float] | None
    queue_fd: int


class Start(msgspec.Struct, frozen=True, tag=True):
    """Begin at this instant of `perf_counter`, which all processes of a machine share."""

    instant: float


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Send nothing more."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """Requests are built and connections open."""


class Row(msgspec.Struct, frozen=True, tag=True):
    """A request has ended; its token times are float64 bytes."""

    fields: dict[str, Any]
    token_times_s: bytes

    @classmethod
    def of(cls, row: RequestRow) -> "Row":
        fields = {name: getattr(row, name) for name in ROW_FIELDS}
        return cls(fields, row.token_times_s.tobytes())

    def row(self) -> RequestRow:
        return RequestRow(**self.fields, token_times_s=np.frombuffer(self.token_times_s))


class Report(msgspec.Struct, frozen=True, tag=True):
    """How far a worker is."""

    progress: Progress


class Done(msgspec.Struct, frozen=True, tag=True):
    """All rows are sent."""

    stats: RunStats


ROW_FIELDS = tuple(name for name in RequestRow.__slots__ if name != "token_times_s")
ToWorker = Job | Start | Stop
FromWorker = Ready | Row | Report | Done
Message = TypeVar("Message")

_encoder = msgspec.msgpack.Encoder()
to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)


def frame(message: ToWorker | FromWorker) -> bytes:
    data = _encoder.encode(message)
    return len(data).to_bytes(LENGTH_BYTES, "little") + data


async def receive(
    reader: asyncio.StreamReader, decoder: "msgspec.msgpack.Decoder[Message]"
) -> Message | None:
    """Return the next message; None at the end."""
    try:
        length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "little")
        return decoder.decode(await reader.readexactly(length))
    except asyncio.IncompleteReadError:
        return None
