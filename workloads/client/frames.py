"""What a client's processes say to each other: messages, each behind its length."""

import asyncio
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
import numpy as np

from workloads.client.progress import Progress
from workloads.client.runstats import RunStats
from workloads.transcript import RequestRow
from workloads.transport.target import EndpointKind

LENGTH_BYTES = 4


class LoadJob(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A worker's share of a run: every request of it, as any may come to this worker.

    Token ids are int32 one after another; a prompt of `input_lens` 0 is the next of `texts`.
    """

    base_url: str
    model: str
    api_key: str
    endpoint: EndpointKind
    return_token_ids: bool
    extra_body: dict[str, msgspec.Raw]
    headers: dict[str, str]
    omit_fields: tuple[str, ...]
    ca_file: str | None
    insecure: bool
    ends_at_done: bool
    connect_timeout_s: float
    idle_timeout_s: float
    request_timeout_s: float
    token_ids: bytes
    input_lens: list[int]
    texts: list[str | tuple[Mapping[str, Any], ...]]
    output_lens: list[int]
    natural: list[bool] | None
    slots: int
    due_s: list[float] | None
    following: list[int] | None
    """Of conversations: the request of the next turn, negative for none."""
    think_s: list[float]
    queue_fd: int


class StartLoad(msgspec.Struct, frozen=True, tag=True):
    """Begin at this instant of `perf_counter`, which all processes of a machine share."""

    instant: float


class StopLoad(msgspec.Struct, frozen=True, tag=True):
    """Send nothing more."""


class WorkerReady(msgspec.Struct, frozen=True, tag=True):
    """Requests are built and connections open."""


class RowMessage(msgspec.Struct, frozen=True, tag=True):
    """A request has ended; its token times are float64 bytes."""

    fields: dict[str, Any]
    token_times_s: bytes

    @classmethod
    def of(cls, row: RequestRow) -> "RowMessage":
        fields = {name: getattr(row, name) for name in ROW_FIELDS}
        return cls(fields, row.token_times_s.tobytes())

    def row(self) -> RequestRow:
        return RequestRow(**self.fields, token_times_s=np.frombuffer(self.token_times_s))


class ProgressMessage(msgspec.Struct, frozen=True, tag=True):
    """How far a worker is."""

    progress: Progress


class WorkerDone(msgspec.Struct, frozen=True, tag=True):
    """All rows are sent."""

    stats: RunStats


ROW_FIELDS = tuple(name for name in RequestRow.__slots__ if name != "token_times_s")
ToWorker = LoadJob | StartLoad | StopLoad
FromWorker = WorkerReady | RowMessage | ProgressMessage | WorkerDone
MessageT = TypeVar("MessageT")

_encoder = msgspec.msgpack.Encoder()
to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)


def frame(message: ToWorker | FromWorker) -> bytes:
    data = _encoder.encode(message)
    return len(data).to_bytes(LENGTH_BYTES, "little") + data


async def receive(
    reader: asyncio.StreamReader, decoder: "msgspec.msgpack.Decoder[MessageT]"
) -> MessageT | None:
    """Return the next message; None at the end."""
    try:
        length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "little")
        return decoder.decode(await reader.readexactly(length))
    except asyncio.IncompleteReadError:
        return None
