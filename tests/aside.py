"""A server of a test in a thread of its own: in the client's loop it would wait for the client."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager


@contextlib.contextmanager
def aside(serving: AbstractAsyncContextManager[object]) -> Iterator[None]:
    """Hold it open in the loop of another thread; what it leaves there is cancelled."""
    ready, over = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with serving:
            ready.set()
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(30)
        yield
    finally:
        loops[0].call_soon_threadsafe(over.set)
        thread.join()
