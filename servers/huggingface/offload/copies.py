"""Copies into the arena: in line with the computation, or beside it on a stream of their own."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class SlotCopies:
    """On a GPU, guessed experts travel while the layer before them computes; a CPU has one order.

    A copy beside the computation waits for what was queued before it, which may still read the
    slot; who computes from the slot waits for the copy.
    """

    def __init__(self, *, on_gpu: bool) -> None:
        self._stream: torch.cuda.Stream | None = None
        self._ready: dict[int, torch.cuda.Event] = {}
        if on_gpu:
            from torch.cuda import Stream

            self._stream = Stream()

    @contextlib.contextmanager
    def into(self, slot: int, *, beside: bool) -> Iterator[None]:
        if self._stream is None:
            yield
            return
        import torch

        self.await_slot(slot)  # an earlier copy into it must not arrive after this one
        if not beside:
            yield
            return
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            yield
            self._ready[slot] = self._stream.record_event()

    def await_slot(self, slot: int) -> None:
        """Hold the computation back until the slot's expert is there."""
        event = self._ready.pop(slot, None)
        if event is not None:
            event.wait()
