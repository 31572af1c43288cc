"""Half a request holds neither a connection nor memory for ever."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from servers.http import listen as listening
from servers.http.listen import limited, listen

HEAD = b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n"


async def echo(request: web.Request) -> web.Response:
    await asyncio.sleep(float(request.query.get("takes", 0)))
    return web.Response(body=await request.read())


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(listening, "HEAD_S", 0.3)
    monkeypatch.setattr(listening, "BODY_S", 0.3)
    monkeypatch.setattr(listening, "MOST_HELD_BYTES", 1000)
    app = limited(web.Application(client_max_size=500))
    app.router.add_post("/echo", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    server = await listen(runner, host="127.0.0.1")
    yield server.sockets[0].getsockname()[1]
    server.close()
    await runner.cleanup()


async def answer(port: int, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """Send the parts and return what comes until the server closes, or until it has answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(10):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause_s)
            return await reader.read(4096)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_whole_request_is_answered_however_it_is_cut(port: int) -> None:
    assert (await answer(port, HEAD + b"abcd")).endswith(b"abcd")
    assert (await answer(port, HEAD[:20], HEAD[20:], b"ab", b"cd", pause_s=0.05)).endswith(b"abcd")


@pytest.mark.parametrize("half", [b"", b"P", HEAD[:-2], HEAD[:30]])
async def test_half_a_head_ends_its_connection(port: int, half: bytes) -> None:
    assert await answer(port, half) == b""


async def test_half_a_body_is_answered_408_and_ends_its_connection(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD + b"ab")
    async with asyncio.timeout(10):
        assert (await reader.read(4096)).startswith(b"HTTP/1.1 408")
        while await reader.read(4096):
            pass
    writer.close()


async def test_a_long_answer_is_not_cut_and_the_next_request_has_its_time_again(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    long = HEAD.replace(b"/echo", b"/echo?takes=0.8")
    async with asyncio.timeout(10):
        for head in (long, HEAD, long):
            writer.write(head + b"abcd")
            assert (await reader.read(4096)).endswith(b"abcd")
            await asyncio.sleep(0.4)  # idle for longer than a head may take
        writer.write(b"POST")
        assert await reader.read(4096) == b""
    writer.close()


async def test_a_body_too_large_is_refused(port: int) -> None:
    head = HEAD.replace(b"Content-Length: 4", b"Content-Length: 501")
    assert (await answer(port, head + b"x" * 501)).startswith(b"HTTP/1.1 413")


async def test_bodies_that_arrive_together_are_bounded_in_sum(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "BODY_S", 2.0)
    head = HEAD.replace(b"Content-Length: 4", b"Content-Length: 400")
    halves = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    for _, writer in halves:
        writer.write(head + b"x")
    await asyncio.sleep(0.2)
    assert (await answer(port, head + b"x" * 400)).startswith(b"HTTP/1.1 503")
    for reader, writer in halves:
        writer.write(b"x" * 399)
        assert (await reader.read(4096)).startswith(b"HTTP/1.1 200")
        writer.close()
    assert (await answer(port, head + b"x" * 400)).startswith(b"HTTP/1.1 200")


async def test_a_socket_of_a_path_is_served_too(tmp_path: Path) -> None:
    app = limited(web.Application())
    app.router.add_post("/echo", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    server = await listen(runner, path=str(tmp_path / "s"))
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
    writer.write(HEAD + b"abcd")
    assert (await reader.read(4096)).endswith(b"abcd")
    writer.close()
    server.close()
    await runner.cleanup()
